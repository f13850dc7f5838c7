//! The shape that nearly all frames have, in one go: no VLAN tag, no IPv4 options or IPv6 extension
//! headers, no fragment, TCP or UDP, all of it in the frame's first buffer.
//!
//! Nothing is malformed here: whatever is not of this shape is left to the whole parser, which finds the
//! reason. Where this one gives a packet, that one gives the same (a test holds them together).

use super::{
    ethernet::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, HEADER_LEN as ETHERNET_LEN},
    ipv4::MIN_HEADER_LEN as IPV4_LEN,
    ipv6::HEADER_LEN as IPV6_LEN,
    transport::{TCP_MIN_HEADER_LEN as TCP_LEN, UDP_HEADER_LEN as UDP_LEN},
};
use crate::{
    frame::FrameBytes,
    packet::{Address, Packet, Service, TcpFlags, protocol},
};

/// Version 4, and a header of five words (RFC 791 §3.1).
const VERSION_4_IHL_5: u32 = 0x45;
/// "More fragments" and the fragment offset.
const FRAGMENT: u32 = 0x3fff;

/// Reads a frame of the plain shape; `None`: another shape.
#[inline(always)] // One caller in the kernel; a BPF subprogram could not return the result by value.
pub fn parse<F: FrameBytes + ?Sized>(frame: &F) -> Option<Packet> {
    let [ethertype] = frame.read_first::<u16, 1>(ETHERNET_LEN - 2)?;
    match ethertype {
        ETHERTYPE_IPV4 => ipv4(frame),
        ETHERTYPE_IPV6 => ipv6(frame),
        _ => None,
    }
}

#[inline(always)] // See `parse`.
fn ipv4<F: FrameBytes + ?Sized>(frame: &F) -> Option<Packet> {
    const PAYLOAD: usize = ETHERNET_LEN + IPV4_LEN;
    let [lengths, fragmentation, protocol, source, destination] =
        frame.read_first::<u32, 5>(ETHERNET_LEN)?;
    let total_len = lengths as u16 as usize;
    if lengths >> 24 != VERSION_4_IHL_5
        || fragmentation & FRAGMENT != 0
        || ETHERNET_LEN + total_len > frame.first_len()
        || total_len < IPV4_LEN
    {
        return None;
    }
    let (service, ports) =
        service::<F, PAYLOAD>(frame, (protocol >> 16) as u8, total_len - IPV4_LEN)?;
    Some(Packet::with_ports(
        Address::v4(source.to_be_bytes()),
        Address::v4(destination.to_be_bytes()),
        (protocol >> 24) as u8,
        service,
        ports,
    ))
}

#[inline(always)] // See `parse`.
fn ipv6<F: FrameBytes + ?Sized>(frame: &F) -> Option<Packet> {
    const PAYLOAD: usize = ETHERNET_LEN + IPV6_LEN;
    let [first, source_hi, source_lo, destination_hi, destination_lo] =
        frame.read_first::<u64, 5>(ETHERNET_LEN)?;
    let payload_len = (first >> 16) as u16 as usize;
    if first >> 60 != 6 || PAYLOAD + payload_len > frame.first_len() {
        return None;
    }
    let (service, ports) = service::<F, PAYLOAD>(frame, (first >> 8) as u8, payload_len)?;
    Some(Packet::with_ports(
        Address::v6_from_words(source_hi, source_lo),
        Address::v6_from_words(destination_hi, destination_lo),
        first as u8,
        service,
        ports,
    ))
}

/// Protocol and ports. `PAYLOAD`: where the transport header starts; `payload_len`: bytes from there on.
#[inline(always)] // See `parse`.
fn service<F: FrameBytes + ?Sized, const PAYLOAD: usize>(
    frame: &F,
    protocol: u8,
    payload_len: usize,
) -> Option<(Service, u32)> {
    match protocol {
        protocol::UDP => {
            let [ports, length] = frame.read_first::<u32, 2>(PAYLOAD)?;
            let udp_len = (length >> 16) as usize;
            (udp_len >= UDP_LEN && udp_len <= payload_len).then_some((Service::Udp, ports))
        }
        protocol::TCP => {
            let [ports, _, _, offset_and_flags] = frame.read_first::<u32, 4>(PAYLOAD)?;
            let header_len = (offset_and_flags >> 28) as usize * 4;
            (header_len >= TCP_LEN && header_len <= payload_len).then_some((
                Service::Tcp(TcpFlags((offset_and_flags >> 16) as u8)),
                ports,
            ))
        }
        _ => None,
    }
}
