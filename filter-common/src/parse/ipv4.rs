//! IPv4 (RFC 791 §3.1).

use super::{
    ParseError, Payload,
    transport::{self, Carrier},
};
use crate::{
    frame::FrameBytes,
    packet::{Address, Packet, Transport},
};

const MIN_HEADER_LEN: usize = 20;
const MAX_DATAGRAM_LEN: usize = 65_535;
const MORE_FRAGMENTS: u16 = 0x2000;
const FRAGMENT_OFFSET_MASK: u16 = 0x1fff;
/// The fragment offset counts in units of eight bytes.
const FRAGMENT_UNIT: usize = 8;

#[inline(always)] // See `super::parse`.
pub(super) fn parse<F: FrameBytes + ?Sized>(
    frame: &F,
    offset: usize,
) -> Result<Packet, ParseError> {
    let header = frame
        .read::<MIN_HEADER_LEN>(offset)
        .ok_or(ParseError::TruncatedIpv4)?;
    if header[0] >> 4 != 4 {
        return Err(ParseError::BadIpv4Version);
    }
    let header_len = (header[0] & 0x0f) as usize * 4;
    if header_len < MIN_HEADER_LEN {
        return Err(ParseError::BadIpv4HeaderLen);
    }
    let available = frame.frame_len().saturating_sub(offset);
    if header_len > available {
        return Err(ParseError::TruncatedIpv4);
    }
    let total_len = u16::from_be_bytes([header[2], header[3]]) as usize;
    if total_len < header_len || total_len > available {
        return Err(ParseError::BadIpv4TotalLen);
    }

    let fragment_word = u16::from_be_bytes([header[6], header[7]]);
    let fragment_offset = (fragment_word & FRAGMENT_OFFSET_MASK) as usize * FRAGMENT_UNIT;
    // The header counts too: reassembled, it stands before the data (the "ping of death").
    if fragment_offset + total_len > MAX_DATAGRAM_LEN {
        return Err(ParseError::BadFragment);
    }
    let protocol = header[9];
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
    Ok(Packet {
        source: Address::V4([header[12], header[13], header[14], header[15]]),
        destination: Address::V4([header[16], header[17], header[18], header[19]]),
        hop_limit: header[8],
        transport,
    })
}
