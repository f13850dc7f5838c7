//! IPv4 (RFC 791 §3.1).

use super::{
    ParseError, Payload,
    transport::{self, Carrier},
};
use crate::{
    frame::FrameBytes,
    packet::{Address, Packet, Transport},
};

pub(super) const MIN_HEADER_LEN: usize = 20;
const MAX_DATAGRAM_LEN: usize = 65_535;
const MORE_FRAGMENTS: u16 = 0x2000;
const FRAGMENT_OFFSET_MASK: u16 = 0x1fff;
/// The fragment offset counts in units of eight bytes.
const FRAGMENT_UNIT: usize = 8;

#[inline(always)] // See `super::parse`.
pub(super) fn parse<F: FrameBytes + ?Sized, P>(
    frame: &F,
    offset: usize,
    place: impl Fn(Packet) -> P,
) -> Result<P, ParseError> {
    const { assert!(size_of::<[u32; 5]>() == MIN_HEADER_LEN) };
    let [lengths, fragmentation, protocol, source, destination] = frame
        .read::<u32, 5>(offset)
        .ok_or(ParseError::TruncatedIpv4)?;
    if lengths >> 28 != 4 {
        return Err(ParseError::BadIpv4Version);
    }
    let header_len = (lengths >> 24 & 0x0f) as usize * 4;
    if header_len < MIN_HEADER_LEN {
        return Err(ParseError::BadIpv4HeaderLen);
    }
    let available = frame.frame_len().saturating_sub(offset);
    if header_len > available {
        return Err(ParseError::TruncatedIpv4);
    }
    let total_len = lengths as u16 as usize;
    if total_len < header_len || total_len > available {
        return Err(ParseError::BadIpv4TotalLen);
    }

    let hop_limit = (protocol >> 24) as u8;
    let protocol = (protocol >> 16) as u8;
    let fragment_word = fragmentation as u16;
    let fragment_offset = (fragment_word & FRAGMENT_OFFSET_MASK) as usize * FRAGMENT_UNIT;
    // The header counts too: reassembled, it stands before the data (the "ping of death").
    if fragment_offset + total_len > MAX_DATAGRAM_LEN {
        return Err(ParseError::BadFragment);
    }
    let transport = if fragment_offset != 0 {
        Transport::LaterFragment { protocol }
    } else {
        let payload = Payload {
            offset: offset + header_len,
            len: total_len - header_len,
            is_first_fragment: fragment_word & MORE_FRAGMENTS != 0,
        };
        transport::parse(frame, Carrier::Ipv4, protocol, payload)?
    };
    Ok(place(Packet::new(
        Address::v4(source.to_be_bytes()),
        Address::v4(destination.to_be_bytes()),
        hop_limit,
        transport,
    )))
}
