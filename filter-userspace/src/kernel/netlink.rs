//! Questions to the kernel over netlink, one at a time. Attributes are read by their numbers and
//! unknown ones are passed over, so that a newer kernel's answers are understood as well.

use std::{collections::HashMap, io, os::fd::AsRawFd as _, time::Duration};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkDeserializable, NetlinkHeader,
    NetlinkMessage, NetlinkPayload, NetlinkSerializable, NlasIterator,
};
use netlink_sys::{Socket, SocketAddr};

/// The kernel answers at once; longer means that it never will.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// How often a listing is asked for that was not of one moment.
const LISTINGS: usize = 5;

/// A socket that asks and waits for the answer.
pub(super) struct Netlink {
    socket: Socket,
    sequence: u32,
}

/// A message of any family: its header below netlink's own, and its attributes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Body {
    pub message_type: u16,
    pub bytes: Vec<u8>,
}

#[derive(Default)]
struct Answer {
    bodies: Vec<Body>,
    /// Parts of a listing are of different moments (NLM_F_DUMP_INTR).
    was_interrupted: bool,
}

impl NetlinkSerializable for Body {
    fn message_type(&self) -> u16 {
        self.message_type
    }

    fn buffer_len(&self) -> usize {
        self.bytes.len()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        buffer.copy_from_slice(&self.bytes);
    }
}

impl NetlinkDeserializable for Body {
    type Error = std::convert::Infallible;

    fn deserialize(header: &NetlinkHeader, payload: &[u8]) -> Result<Self, Self::Error> {
        Ok(Self {
            message_type: header.message_type,
            bytes: payload.to_vec(),
        })
    }
}

impl Netlink {
    /// `protocol`: NETLINK_ROUTE or NETLINK_GENERIC. Asks in the network namespace of the calling thread.
    pub fn open(protocol: isize) -> io::Result<Self> {
        let mut socket = Socket::new(protocol)?;
        socket.bind_auto()?;
        // Number 0 is the kernel; nobody else's messages are wanted.
        socket.connect(&SocketAddr::new(0, 0))?;
        give_up_after(&socket, ANSWER_TIMEOUT)?;
        Ok(Self {
            socket,
            sequence: 0,
        })
    }

    /// Sends `body` and returns all that the kernel answers. `flags`: NLM_F_DUMP for a listing.
    ///
    /// A listing is asked for again when it says of itself that things changed under it. Where they never rest the
    /// last one has to do.
    pub fn ask(&mut self, body: Body, flags: u16) -> io::Result<Vec<Body>> {
        for _ in 1..LISTINGS {
            let answer = self.ask_once(body.clone(), flags)?;
            if !answer.was_interrupted {
                return Ok(answer.bodies);
            }
        }
        Ok(self.ask_once(body, flags)?.bodies)
    }

    fn ask_once(&mut self, body: Body, flags: u16) -> io::Result<Answer> {
        self.sequence += 1;
        let mut header = NetlinkHeader::default();
        // The answer to a single question ends with an acknowledgement, a listing with NLMSG_DONE.
        header.flags = NLM_F_REQUEST | if flags == 0 { NLM_F_ACK } else { flags };
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(body));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;

        let mut answer = Answer::default();
        loop {
            let (received, _) = self.socket.recv_from_full()?;
            let mut rest = received.as_slice();
            while !rest.is_empty() {
                let message = NetlinkMessage::<Body>::deserialize(rest).map_err(unreadable)?;
                // NLMSG_ALIGN of linux/netlink.h.
                let len = (message.header.length as usize).next_multiple_of(4);
                rest = rest.get(len..).unwrap_or_default();
                answer.was_interrupted |= message.header.flags & NLM_F_DUMP_INTR != 0;
                match message.payload {
                    NetlinkPayload::InnerMessage(body) => answer.bodies.push(body),
                    NetlinkPayload::Done(_) => return Ok(answer),
                    NetlinkPayload::Error(error) if error.code.is_some() => {
                        return Err(error.to_io());
                    }
                    NetlinkPayload::Error(_) => return Ok(answer),
                    _ => {}
                }
            }
        }
    }
}

/// Bounds how long the answer is waited for.
fn give_up_after(socket: &Socket, timeout: Duration) -> io::Result<()> {
    let time = libc::timeval {
        tv_sec: timeout.as_secs() as libc::time_t,
        tv_usec: 0,
    };
    // SAFETY: the option takes a timeval, which outlives the call.
    let status = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVTIMEO,
            (&raw const time).cast(),
            size_of::<libc::timeval>() as libc::socklen_t,
        )
    };
    match status {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn unreadable(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// The attributes in `bytes` by number. What follows a broken one is left out.
pub(super) fn attributes(bytes: &[u8]) -> HashMap<u16, &[u8]> {
    attribute_list(bytes).collect()
}

/// The same in their order, where a number may occur several times.
pub(super) fn attribute_list(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    NlasIterator::new(bytes)
        .map_while(Result::ok)
        .map(|attribute| {
            let start = attribute.into_inner();
            let len = usize::from(u16::from_ne_bytes([start[0], start[1]]));
            // The two highest bits say how the value is made (NLA_TYPE_MASK).
            let number = u16::from_ne_bytes([start[2], start[3]]) & 0x3fff;
            (number, &start[4..len])
        })
}

/// An attribute for a question.
pub(super) fn attribute(number: u16, value: &[u8]) -> Vec<u8> {
    let len = (4 + value.len()) as u16;
    let mut bytes = [len.to_ne_bytes(), number.to_ne_bytes()].concat();
    bytes.extend_from_slice(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

pub(super) fn u32_of(value: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(value.get(..4)?.try_into().ok()?))
}

/// A text that ends with a zero byte.
pub(super) fn text_of(value: &[u8]) -> String {
    let end = value.iter().position(|byte| *byte == 0);
    String::from_utf8_lossy(&value[..end.unwrap_or(value.len())]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_found_by_number_and_broken_ones_end_the_reading() {
        let mut bytes = attribute(3, b"eth0\0");
        assert_eq!(bytes.len(), 12, "padded to 4");
        bytes.extend(attribute(0x8000 | 43, &7u32.to_ne_bytes()));
        let read = attributes(&bytes);
        assert_eq!(text_of(read[&3]), "eth0");
        assert_eq!(u32_of(read[&43]), Some(7));
        // A length beyond the end.
        bytes.extend([200, 0, 1, 0]);
        assert_eq!(attributes(&bytes).len(), 2);
        assert_eq!(u32_of(&[1, 2]), None);
    }
}
