//! Frame → packet, for the kernel and the host alike.
//!
//! Three outcomes: `Ok(Some(packet))`; `Ok(None)`, not IP and so not cerco's business; or the one
//! reason why the frame is malformed.

mod ethernet;
mod ipv4;
mod ipv6;
mod plain;
mod quoted;
mod transport;

use crate::{frame::FrameBytes, packet::Packet, verdict::Reason};

pub use ethernet::MAX_VLAN_TAGS;
pub use ipv6::MAX_EXTENSION_HEADERS;
pub use plain::parse as parse_plain;
pub use quoted::parse as parse_quoted;

/// Why a frame could not be read. Each variant is one counter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ParseError {
    TruncatedEthernet,
    TooManyVlanTags,
    TruncatedIpv4,
    BadIpv4Version,
    BadIpv4HeaderLen,
    BadIpv4TotalLen,
    TruncatedIpv6,
    BadIpv6Version,
    BadIpv6PayloadLen,
    TruncatedIpv6Ext,
    BadIpv6ExtChain,
    BadFragment,
    TruncatedTransport,
    BadTcpHeaderLen,
    BadUdpLen,
}

impl ParseError {
    /// The reason under which such a frame is counted.
    pub const fn reason(self) -> Reason {
        match self {
            Self::TruncatedEthernet => Reason::TruncatedEthernet,
            Self::TooManyVlanTags => Reason::TooManyVlanTags,
            Self::TruncatedIpv4 => Reason::TruncatedIpv4,
            Self::BadIpv4Version => Reason::BadIpv4Version,
            Self::BadIpv4HeaderLen => Reason::BadIpv4HeaderLen,
            Self::BadIpv4TotalLen => Reason::BadIpv4TotalLen,
            Self::TruncatedIpv6 => Reason::TruncatedIpv6,
            Self::BadIpv6Version => Reason::BadIpv6Version,
            Self::BadIpv6PayloadLen => Reason::BadIpv6PayloadLen,
            Self::TruncatedIpv6Ext => Reason::TruncatedIpv6Ext,
            Self::BadIpv6ExtChain => Reason::BadIpv6ExtChain,
            Self::BadFragment => Reason::BadFragment,
            Self::TruncatedTransport => Reason::TruncatedTransport,
            Self::BadTcpHeaderLen => Reason::BadTcpHeaderLen,
            Self::BadUdpLen => Reason::BadUdpLen,
        }
    }
}

/// The transport payload of an IP packet, as offsets into the frame.
#[derive(Clone, Copy)]
struct Payload {
    offset: usize,
    /// Bytes up to the end that the IP header gives, which the frame is known to hold.
    len: usize,
    /// True in a first fragment: lengths inside the transport header speak of the whole datagram.
    is_first_fragment: bool,
}

/// Reads one Ethernet frame.
///
/// Bytes behind the end that the IP header gives are padding and are ignored.
pub fn parse<F: FrameBytes + ?Sized>(frame: &F) -> Result<Option<Packet>, ParseError> {
    match parse_plain(frame) {
        Some(packet) => Ok(Some(packet)),
        None => parse_into(frame, |packet| packet),
    }
}

/// As [`parse`], without the short way of [`parse_plain`], and hands the packet to `place` as soon as it is complete.
///
/// In the kernel a packet that is returned through two layers of `Result` would be taken apart into
/// bytes and put together again; a reference to where it was laid is one register.
#[inline(always)] // One caller in the kernel; a BPF subprogram could not return the result by value.
pub fn parse_into<F: FrameBytes + ?Sized, P>(
    frame: &F,
    place: impl Fn(Packet) -> P,
) -> Result<Option<P>, ParseError> {
    match ethernet::parse(frame)? {
        Some(ethernet::Network::Ipv4 { offset }) => ipv4::parse(frame, offset, place).map(Some),
        Some(ethernet::Network::Ipv6 { offset }) => ipv6::parse(frame, offset, place).map(Some),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests;
