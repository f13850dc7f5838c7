//! The packet that an ICMP error quotes: as much of it as fits (RFC 1812 §4.3.2.3, RFC 4443 §2.4), which is the
//! IP header and eight bytes at least.

use super::{
    ethernet::HEADER_LEN as ETHERNET_LEN, ipv4::MIN_HEADER_LEN as IPV4_LEN,
    ipv6::HEADER_LEN as IPV6_LEN,
};
use crate::{
    frame::FrameBytes,
    packet::{Address, IcmpMessage, Packet, TcpFlags, Transport, protocol},
};

const FRAGMENT_OFFSET_MASK: u32 = 0x1fff;

/// Reads the packet that starts at `offset` (bytes) of the frame, if it has ports or is an echo request. `None` also
/// for IPv6 with extension headers, behind which a quotation may well have been cut off.
///
/// Its TCP flags are not read: they may lie behind the end.
#[inline(always)] // One caller in the kernel; a BPF subprogram could not return the result by value.
pub fn parse<F: FrameBytes + ?Sized>(frame: &F, offset: usize) -> Option<Packet> {
    // No packet starts before the end of the Ethernet header; 0 stands for "none is quoted".
    if offset < ETHERNET_LEN {
        return None;
    }
    let [first] = frame.copy::<u32, 1>(offset)?;
    match first >> 28 {
        4 => ipv4(frame, offset),
        6 => ipv6(frame, offset),
        _ => None,
    }
}

#[inline(always)] // See `parse`.
fn ipv4<F: FrameBytes + ?Sized>(frame: &F, offset: usize) -> Option<Packet> {
    let [lengths, fragmentation, protocol, source, destination] = frame.copy::<u32, 5>(offset)?;
    let header_len = (lengths >> 24 & 0x0f) as usize * 4;
    if header_len < IPV4_LEN || fragmentation & FRAGMENT_OFFSET_MASK != 0 {
        return None;
    }
    let protocol_number = (protocol >> 16) as u8;
    let payload = offset + header_len;
    let transport = match protocol_number {
        protocol::ICMP => Transport::Icmp(echo_request(frame, payload, 8)?),
        _ => with_ports(frame, payload, protocol_number)?,
    };
    Some(Packet::new(
        Address::v4(source.to_be_bytes()),
        Address::v4(destination.to_be_bytes()),
        (protocol >> 24) as u8,
        transport,
    ))
}

#[inline(always)] // See `parse`.
fn ipv6<F: FrameBytes + ?Sized>(frame: &F, offset: usize) -> Option<Packet> {
    let [first, source_hi, source_lo, destination_hi, destination_lo] =
        frame.copy::<u64, 5>(offset)?;
    let next_header = (first >> 8) as u8;
    let payload = offset + IPV6_LEN;
    let transport = match next_header {
        protocol::ICMPV6 => Transport::Icmpv6(echo_request(frame, payload, 128)?),
        _ => with_ports(frame, payload, next_header)?,
    };
    Some(Packet::new(
        Address::v6_from_words(source_hi, source_lo),
        Address::v6_from_words(destination_hi, destination_lo),
        first as u8,
        transport,
    ))
}

#[inline(always)] // See `parse`.
fn with_ports<F: FrameBytes + ?Sized>(
    frame: &F,
    offset: usize,
    protocol_number: u8,
) -> Option<Transport> {
    let [src_port, dst_port] = frame.copy::<u16, 2>(offset)?;
    match protocol_number {
        protocol::TCP => Some(Transport::Tcp {
            src_port,
            dst_port,
            flags: TcpFlags(0),
        }),
        protocol::UDP => Some(Transport::Udp { src_port, dst_port }),
        _ => None,
    }
}

#[inline(always)] // See `parse`.
fn echo_request<F: FrameBytes + ?Sized>(
    frame: &F,
    offset: usize,
    request_type: u8,
) -> Option<IcmpMessage> {
    let [type_and_code, _checksum, identifier] = frame.copy::<u16, 3>(offset)?;
    (type_and_code >> 8 == u16::from(request_type))
        .then_some(IcmpMessage::echo(request_type, identifier))
}
