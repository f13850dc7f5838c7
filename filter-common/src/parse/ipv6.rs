//! IPv6 and its extension headers (RFC 8200 §3, §4).

use super::{
    ParseError, Payload,
    transport::{self, Carrier},
};
use crate::{
    frame::FrameBytes,
    packet::{Address, Packet, Transport, protocol},
};

/// Extension headers that are walked over; one more is an error. Real traffic carries at most two
/// or three, and Linux lets a host set a limit of its own for each kind (net.ipv6.max_*).
pub const MAX_EXTENSION_HEADERS: usize = 8;

pub(super) const HEADER_LEN: usize = 40;
const MAX_PAYLOAD_LEN: usize = 65_535;
const MIN_EXTENSION_LEN: usize = 8;
const MORE_FRAGMENTS: u16 = 0x0001;
const FRAGMENT_OFFSET_MASK: u16 = 0xfff8;

#[inline(always)] // See `super::parse`.
pub(super) fn parse<F: FrameBytes + ?Sized, P>(
    frame: &F,
    offset: usize,
    place: impl Fn(Packet) -> P,
) -> Result<P, ParseError> {
    const { assert!(size_of::<[u64; 5]>() == HEADER_LEN) };
    let [first, source_hi, source_lo, destination_hi, destination_lo] = frame
        .read::<u64, 5>(offset)
        .ok_or(ParseError::TruncatedIpv6)?;
    if first >> 60 != 6 {
        return Err(ParseError::BadIpv6Version);
    }
    let payload_len = (first >> 16) as u16 as usize;
    let available = frame.frame_len().saturating_sub(offset + HEADER_LEN);
    if payload_len > available {
        return Err(ParseError::BadIpv6PayloadLen);
    }
    let payload = Payload {
        offset: offset + HEADER_LEN,
        len: payload_len,
        is_first_fragment: false,
    };
    let transport = parse_payload(frame, (first >> 8) as u8, payload)?;
    Ok(place(Packet::new(
        Address::v6_from_words(source_hi, source_lo),
        Address::v6_from_words(destination_hi, destination_lo),
        first as u8,
        transport,
    )))
}

/// Walks the extension headers to the transport header.
#[inline(always)] // See `super::parse`.
fn parse_payload<F: FrameBytes + ?Sized>(
    frame: &F,
    first_header: u8,
    mut payload: Payload,
) -> Result<Transport, ParseError> {
    let mut next_header = first_header;
    for position in 0..MAX_EXTENSION_HEADERS {
        if !protocol::is_ipv6_extension(next_header) {
            break;
        }
        // Hop-by-hop options stand directly behind the IPv6 header or not at all (§4.1).
        if next_header == protocol::HOP_BY_HOP && position != 0 {
            return Err(ParseError::BadIpv6ExtChain);
        }
        if payload.len < MIN_EXTENSION_LEN {
            return Err(ParseError::TruncatedIpv6Ext);
        }
        let [header, fragment_word] = frame
            .read::<u16, 2>(payload.offset)
            .ok_or(ParseError::TruncatedIpv6Ext)?;
        let [following_header, length] = header.to_be_bytes();
        let extension_len = match next_header {
            protocol::FRAGMENT => {
                let fragment_offset = (fragment_word & FRAGMENT_OFFSET_MASK) as usize;
                if fragment_offset + payload.len - MIN_EXTENSION_LEN > MAX_PAYLOAD_LEN {
                    return Err(ParseError::BadFragment);
                }
                if fragment_offset != 0 {
                    return Ok(Transport::LaterFragment {
                        protocol: following_header,
                    });
                }
                // Offset 0 and no more to come is an atomic fragment: a whole packet (RFC 6946).
                payload.is_first_fragment |= fragment_word & MORE_FRAGMENTS != 0;
                MIN_EXTENSION_LEN
            }
            // AH counts in units of four bytes, less two (RFC 4302 §2.2), the others in units of
            // eight, less one.
            protocol::AUTHENTICATION => (length as usize + 2) * 4,
            _ => (length as usize + 1) * 8,
        };
        if extension_len > payload.len {
            return Err(ParseError::TruncatedIpv6Ext);
        }
        payload.offset = frame.forget_bounds(payload.offset + extension_len);
        payload.len = frame.forget_bounds(payload.len - extension_len);
        next_header = following_header;
    }
    if protocol::is_ipv6_extension(next_header) {
        return Err(ParseError::BadIpv6ExtChain);
    }
    transport::parse(frame, Carrier::Ipv6, next_header, payload)
}
