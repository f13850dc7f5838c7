//! Frames that differ only in source address and port, made fast.

use crate::frames::{Frame, Transport};
use std::net::IpAddr;

const ETHERNET_LEN: usize = 14;

/// A finished frame in which source address and source port are replaced again and again.
///
/// Checksums are one's-complement sums, so the sum over everything that stays is taken once
/// (RFC 1624 explains the arithmetic).
#[derive(Clone, Debug)]
pub struct Stamp {
    frame: Vec<u8>,
    /// IPv4 only: the header's sum without the source address.
    header_sum: u32,
    /// The sum of transport header, payload and pseudo header, without source address and port.
    transport_sum: u32,
    transport_offset: usize,
    checksum_offset: usize,
    is_udp: bool,
}

impl Stamp {
    /// `frame`: TCP or UDP, untagged, without options, and with source address and source port
    /// of any value.
    ///
    /// # Panics
    /// With any other frame.
    pub fn new(frame: &Frame) -> Self {
        let mut bytes = frame.bytes();
        let is_v4 = bytes[12..14] == [0x08, 0x00];
        let (source, transport_offset) = if is_v4 {
            (26..30, ETHERNET_LEN + 20)
        } else {
            (22..38, ETHERNET_LEN + 40)
        };
        let (checksum_in_header, is_udp, protocol) = match frame.transport {
            Transport::Tcp { .. } => (16, false, 6),
            Transport::Udp { .. } => (6, true, 17),
            _ => panic!("a stamp is TCP or UDP"),
        };
        let checksum_offset = transport_offset + checksum_in_header;
        bytes[source.clone()].fill(0);
        bytes[transport_offset..transport_offset + 2].fill(0);
        bytes[checksum_offset..checksum_offset + 2].fill(0);
        if is_v4 {
            bytes[24..26].fill(0);
        }
        let destination = source.end..source.end + source.len();
        let transport_len = bytes.len() - transport_offset;
        let transport_sum = sum(&bytes[transport_offset..])
            + sum(&bytes[destination])
            + protocol
            + u32::try_from(transport_len).expect("invariant: a frame is below 64 KiB");
        Self {
            header_sum: sum(&bytes[ETHERNET_LEN..ETHERNET_LEN + 20]),
            frame: bytes,
            transport_sum,
            transport_offset,
            checksum_offset,
            is_udp,
        }
    }

    /// The frame as sent by `source`, of the stamp's own family, from `source_port`.
    pub fn frame_from(&mut self, source: IpAddr, source_port: u16) -> &[u8] {
        let source_sum = match source {
            IpAddr::V4(address) => {
                let octets = address.octets();
                self.frame[26..30].copy_from_slice(&octets);
                let checksum = !fold(self.header_sum + sum(&octets));
                self.frame[24..26].copy_from_slice(&checksum.to_be_bytes());
                sum(&octets)
            }
            IpAddr::V6(address) => {
                let octets = address.octets();
                self.frame[22..38].copy_from_slice(&octets);
                sum(&octets)
            }
        };
        let mut checksum = !fold(self.transport_sum + source_sum + u32::from(source_port));
        // Zero would mean "no checksum" (RFC 768).
        if self.is_udp && checksum == 0 {
            checksum = 0xffff;
        }
        let port = self.transport_offset;
        self.frame[port..port + 2].copy_from_slice(&source_port.to_be_bytes());
        self.frame[self.checksum_offset..self.checksum_offset + 2]
            .copy_from_slice(&checksum.to_be_bytes());
        &self.frame
    }
}

/// The sum of 16-bit big-endian words; an odd last byte counts as the upper half of a word.
fn sum(bytes: &[u8]) -> u32 {
    bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0)))
        .sum()
}

fn fold(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::veth::Mac;
    use std::net::SocketAddr;

    #[test]
    fn stamped_frames_equal_built_frames() {
        let macs = (Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2]));
        let cases = [
            ("0.0.0.0:1", "203.0.113.10:80"),
            ("[::]:1", "[2001:db8:80::10]:80"),
        ];
        let mut rng = fastrand::Rng::with_seed(7);
        for (any, target) in cases {
            let any: SocketAddr = any.parse().unwrap();
            let to = (macs.1, target.parse().unwrap());
            let mut syn = Stamp::new(&Frame::tcp_syn((macs.0, any), to));
            // An odd payload, so the last byte has no partner.
            let mut udp = Stamp::new(&Frame::udp((macs.0, any), to, b"odd"));
            for _ in 0..100_000 {
                let source = if any.is_ipv4() {
                    IpAddr::from(rng.u32(..).to_be_bytes())
                } else {
                    IpAddr::from(rng.u128(..).to_be_bytes())
                };
                let port = rng.u16(..);
                let from = (macs.0, SocketAddr::new(source, port));
                assert_eq!(
                    syn.frame_from(source, port),
                    Frame::tcp_syn(from, to).bytes()
                );
                assert_eq!(
                    udp.frame_from(source, port),
                    Frame::udp(from, to, b"odd").bytes()
                );
            }
        }
    }
}
