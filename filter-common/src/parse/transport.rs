//! TCP, UDP, ICMP and ICMPv6, as far as ports, flags and types.

use super::{ParseError, Payload};
use crate::{
    frame::FrameBytes,
    packet::{IcmpMessage, TcpFlags, Transport, protocol},
};

pub(super) const TCP_MIN_HEADER_LEN: usize = 20;
pub(super) const UDP_HEADER_LEN: usize = 8;
/// Type, code, checksum and four bytes of the message: Linux takes no shorter one.
const ICMP_HEADER_LEN: usize = 8;

/// Which IP carries the payload: each has an ICMP of its own, and they differ on UDP's length 0.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Carrier {
    Ipv4,
    Ipv6,
}

#[inline(always)] // See `super::parse`.
pub(super) fn parse<F: FrameBytes + ?Sized>(
    frame: &F,
    carrier: Carrier,
    protocol: u8,
    payload: Payload,
) -> Result<Transport, ParseError> {
    match (protocol, carrier) {
        (protocol::TCP, _) => parse_tcp(frame, payload),
        (protocol::UDP, _) => parse_udp(frame, payload, carrier == Carrier::Ipv6),
        (protocol::ICMP, Carrier::Ipv4) => parse_icmp(frame, payload, carrier).map(Transport::Icmp),
        (protocol::ICMPV6, Carrier::Ipv6) => {
            parse_icmp(frame, payload, carrier).map(Transport::Icmpv6)
        }
        _ => Ok(Transport::Other { protocol }),
    }
}

/// RFC 9293 §3.1. A first fragment must hold the whole header (RFC 1858, RFC 7112 §5).
#[inline(always)] // See `super::parse`.
fn parse_tcp<F: FrameBytes + ?Sized>(frame: &F, payload: Payload) -> Result<Transport, ParseError> {
    if payload.len < TCP_MIN_HEADER_LEN {
        return Err(ParseError::TruncatedTransport);
    }
    let [src_port, dst_port, _, _, _, _, offset_and_flags] =
        frame
            .read::<u16, 7>(payload.offset)
            .ok_or(ParseError::TruncatedTransport)?;
    let header_len = (offset_and_flags >> 12) as usize * 4;
    if header_len < TCP_MIN_HEADER_LEN || header_len > payload.len {
        return Err(ParseError::BadTcpHeaderLen);
    }
    Ok(Transport::Tcp {
        src_port,
        dst_port,
        flags: TcpFlags(offset_and_flags as u8),
    })
}

/// RFC 768; the length 0 means "up to the end" over IPv6 alone (RFC 2675 §4).
#[inline(always)] // See `super::parse`.
fn parse_udp<F: FrameBytes + ?Sized>(
    frame: &F,
    payload: Payload,
    zero_len_is_whole: bool,
) -> Result<Transport, ParseError> {
    if payload.len < UDP_HEADER_LEN {
        return Err(ParseError::TruncatedTransport);
    }
    let [src_port, dst_port, udp_len] = frame
        .read::<u16, 3>(payload.offset)
        .ok_or(ParseError::TruncatedTransport)?;
    let udp_len = udp_len as usize;
    let is_whole = udp_len == 0 && zero_len_is_whole;
    if !is_whole
        && (udp_len < UDP_HEADER_LEN || (udp_len > payload.len && !payload.is_first_fragment))
    {
        return Err(ParseError::BadUdpLen);
    }
    Ok(Transport::Udp { src_port, dst_port })
}

/// RFC 792, RFC 4443 §2.1.
#[inline(always)] // See `super::parse`.
fn parse_icmp<F: FrameBytes + ?Sized>(
    frame: &F,
    payload: Payload,
    carrier: Carrier,
) -> Result<IcmpMessage, ParseError> {
    if payload.len < ICMP_HEADER_LEN {
        return Err(ParseError::TruncatedTransport);
    }
    let [type_and_code, _checksum, third] = frame
        .read::<u16, 3>(payload.offset)
        .ok_or(ParseError::TruncatedTransport)?;
    let [message_type, code] = type_and_code.to_be_bytes();
    let context = match (carrier, message_type) {
        // Echo reply and request: the third word is the identifier.
        (Carrier::Ipv4, 0 | 8) | (Carrier::Ipv6, 128 | 129) => third,
        // Errors quote a packet behind the header: of ICMP unreachable, time exceeded, parameter
        // problem; of ICMPv6 all below 128 (RFC 4443 §2.1).
        (Carrier::Ipv4, 3 | 11 | 12) | (Carrier::Ipv6, 0..=127) => {
            (payload.offset + ICMP_HEADER_LEN) as u16
        }
        _ => 0,
    };
    Ok(IcmpMessage {
        message_type,
        code,
        context,
    })
}
