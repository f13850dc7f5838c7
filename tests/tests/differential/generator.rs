//! Frames good and bad, from a seed.
//!
//! Written byte by byte: what no library would write is what has to be tried.

use fastrand::Rng;

use super::addresses::Addresses;

/// Extension headers that the parser knows, ESP, and one that nobody knows.
const EXTENSIONS: [u8; 10] = [0, 43, 44, 51, 60, 135, 139, 140, 50, 253];
const ICMP_TYPES: [u8; 5] = [0, 3, 4, 8, 11];
const ICMPV6_TYPES: [u8; 14] = [
    1, 2, 128, 129, 130, 131, 132, 133, 134, 135, 136, 137, 138, 143,
];
const PORTS: [u16; 10] = [0, 22, 53, 67, 68, 80, 443, 546, 547, 65_535];
const PROTOCOLS: [u8; 14] = [6, 6, 6, 6, 17, 17, 17, 1, 58, 2, 50, 51, 47, 253];
const HOP_LIMITS: [u8; 6] = [0, 1, 64, 128, 254, 255];

/// Where the parts of a frame lie, for whoever wants to break one of them.
pub struct Frame {
    pub bytes: Vec<u8>,
    /// Offset of the IP header.
    pub network: usize,
    /// Offset of the transport header.
    pub transport: usize,
    is_v4: bool,
}

/// What a frame is made of; everything else is drawn.
#[derive(Clone, Default)]
pub struct Shape {
    pub is_v4: bool,
    pub tags: Vec<u16>,
    /// Words of IPv4 options.
    pub option_words: usize,
    pub extensions: Vec<u8>,
    /// The length field of extension headers, which counts in units of each kind's own.
    pub extension_units: u8,
    /// The fragment field of IPv4, or of each IPv6 fragment header: offset in units of 8 bytes, more.
    pub fragment: (u16, bool),
    pub protocol: u8,
    pub payload_len: usize,
}

impl Shape {
    fn random(random: &mut Rng) -> Self {
        let is_v4 = random.bool();
        let tags = match random.u8(..20) {
            0..=12 => 0,
            13..=15 => 1,
            16..=18 => 2,
            _ => 3,
        };
        let extensions = match random.u8(..10) {
            0..=5 => 0,
            6..=7 => random.usize(1..=3),
            _ => random.usize(1..=10),
        };
        let fragment = match random.u8(..20) {
            0 => (0, true),
            1 => (random.u16(1..0x2000), random.bool()),
            2 => (random.u16(1..200), random.bool()),
            3 => (*pick(random, &[1, 2, 3, 0x1fff, 0x1ffe]), random.bool()),
            _ => (0, false),
        };
        Self {
            is_v4,
            tags: (0..tags)
                .map(|_| *pick(random, &[0x8100, 0x88a8]))
                .collect(),
            option_words: if random.u8(..4) == 0 {
                random.usize(..=10)
            } else {
                0
            },
            extensions: (0..extensions)
                .map(|_| *pick(random, &EXTENSIONS))
                .collect(),
            extension_units: if random.u8(..4) == 0 {
                random.u8(..6)
            } else {
                1
            },
            fragment,
            protocol: *pick(random, &PROTOCOLS),
            payload_len: random.usize(..40),
        }
    }
}

fn pick<'a, T>(random: &mut Rng, list: &'a [T]) -> &'a T {
    &list[random.usize(..list.len())]
}

/// One frame of the stream: valid, or broken in one of several ways.
pub fn frame(random: &mut Rng, addresses: &Addresses) -> Vec<u8> {
    let shape = Shape::random(random);
    let mut frame = build(random, addresses, &shape);
    match random.u8(..20) {
        0..=7 => {}
        8..=10 => flip(random, &mut frame.bytes),
        11..=12 => {
            let len = random.usize(14..=frame.bytes.len());
            frame.bytes.truncate(len);
        }
        13..=16 => break_field(random, &mut frame),
        17 => {
            // Ethernet pads short frames; what lies behind the IP packet means nothing.
            let padding = random.usize(1..60);
            frame.bytes.extend((0..padding).map(|_| random.u8(..)));
        }
        18 => {
            // ARP, LLDP, PPPoE, MACsec, an old double tag, MPLS, and lengths of 802.3.
            let others = [
                0x0806u16, 0x88cc, 0x8864, 0x88e5, 0x9100, 0x8847, 0x0026, 0x05dc,
            ];
            let at = frame.network - 2;
            let ethertype = *pick(random, &others);
            frame.bytes[at..at + 2].copy_from_slice(&ethertype.to_be_bytes());
        }
        _ => {
            // Noise behind a good EtherType.
            for byte in &mut frame.bytes[frame.network..] {
                *byte = random.u8(..);
            }
            frame.bytes[frame.network] = if frame.is_v4 { 0x45 } else { 0x60 };
        }
    }
    frame.bytes
}

fn flip(random: &mut Rng, bytes: &mut [u8]) {
    for _ in 0..random.usize(1..=4) {
        let at = random.usize(..bytes.len());
        bytes[at] = random.u8(..);
    }
}

/// Breaks a length, a version or an offset, by little or by much.
fn break_field(random: &mut Rng, frame: &mut Frame) {
    let (network, transport) = (frame.network, frame.transport);
    let near = |random: &mut Rng, value: u16| match random.u8(..4) {
        0 => 0,
        1 => random.u16(..),
        2 => value.wrapping_add(random.u16(1..12)),
        _ => value.wrapping_sub(random.u16(1..60)),
    };
    let at = match (random.u8(..5), frame.is_v4) {
        (0, true) => {
            let header_words = random.u8(..16);
            frame.bytes[network] = 0x40 | header_words;
            return;
        }
        (0, false) => {
            frame.bytes[network] = random.u8(..);
            return;
        }
        (1, true) => network + 2,
        (1, false) => network + 4,
        (2, true) => network + 6,
        (2, false) => network + 42,
        (3, _) => transport + 12,
        (_, _) => transport + 4,
    };
    let Some(field) = frame.bytes.get_mut(at..at + 2) else {
        return;
    };
    let value = near(random, u16::from_be_bytes([field[0], field[1]]));
    field.copy_from_slice(&value.to_be_bytes());
}

/// A frame of this shape with right lengths.
pub fn build(random: &mut Rng, addresses: &Addresses, shape: &Shape) -> Frame {
    let mut bytes = vec![0x02; 12];
    for tpid in &shape.tags {
        bytes.extend(tpid.to_be_bytes());
        // VLAN 0 is a priority tag.
        bytes.extend(pick(random, &[0u16, 7 << 13, 42]).to_be_bytes());
    }
    let transport = transport(random, shape);
    let hop_limit = *pick(random, &HOP_LIMITS);
    let (fragment_units, more) = shape.fragment;
    if shape.is_v4 {
        bytes.extend(0x0800u16.to_be_bytes());
        let network = bytes.len();
        let header_len = 20 + 4 * shape.option_words;
        let total_len = (header_len + transport.len()) as u16;
        bytes.extend([0x40 | (header_len / 4) as u8, 0]);
        bytes.extend(total_len.to_be_bytes());
        bytes.extend([0xab, 0xcd]);
        bytes.extend((fragment_units & 0x1fff | u16::from(more) << 13).to_be_bytes());
        bytes.extend([hop_limit, shape.protocol, 0, 0]);
        bytes.extend(addresses.source_v4(random));
        bytes.extend(addresses.destination_v4(random));
        bytes.resize(network + header_len, 1);
        let start = bytes.len();
        bytes.extend(transport);
        return Frame {
            bytes,
            network,
            transport: start,
            is_v4: true,
        };
    }
    bytes.extend(0x86ddu16.to_be_bytes());
    let network = bytes.len();
    let mut chain = shape.extensions.clone();
    chain.push(shape.protocol);
    bytes.extend([0x60, 0, 0, 0, 0, 0, chain[0], hop_limit]);
    bytes.extend(addresses.source_v6(random));
    bytes.extend(addresses.destination_v6(random));
    for pair in chain.windows(2) {
        let start = bytes.len();
        let units = usize::from(shape.extension_units);
        let (len, units) = match pair[0] {
            44 => (8, 0),
            51 => (8 + units * 4, shape.extension_units),
            _ => (8 + units * 8, shape.extension_units),
        };
        bytes.extend([pair[1], units]);
        bytes.resize(start + len, 0);
        if pair[0] == 44 {
            let word = (fragment_units & 0x1fff) << 3 | u16::from(more);
            bytes[start + 2..start + 4].copy_from_slice(&word.to_be_bytes());
        }
    }
    let start = bytes.len();
    bytes.extend(transport);
    let payload_len = (bytes.len() - network - 40) as u16;
    bytes[network + 4..network + 6].copy_from_slice(&payload_len.to_be_bytes());
    Frame {
        bytes,
        network,
        transport: start,
        is_v4: false,
    }
}

fn port(random: &mut Rng) -> [u8; 2] {
    let port = if random.u8(..4) == 0 {
        random.u16(..)
    } else {
        *pick(random, &PORTS)
    };
    port.to_be_bytes()
}

fn transport(random: &mut Rng, shape: &Shape) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(64);
    match shape.protocol {
        6 => {
            bytes.extend(port(random));
            bytes.extend(port(random));
            bytes.extend([0; 8]);
            let flags = *pick(random, &[0x02, 0x02, 0x02, 0x42, 0x12, 0x10, 0xff, 0]);
            bytes.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
        }
        17 => {
            // The DHCP pairs are rare among random ports.
            match random.u8(..8) {
                0 => bytes.extend([0, 67, 0, 68]),
                1 => bytes.extend([0x02, 0x23, 0x02, 0x22]),
                _ => {
                    bytes.extend(port(random));
                    bytes.extend(port(random));
                }
            }
            bytes.extend((8 + shape.payload_len as u16).to_be_bytes());
            bytes.extend([0, 0]);
        }
        1 => bytes.extend([*pick(random, &ICMP_TYPES), random.u8(..6), 0, 0, 0, 0, 0, 0]),
        58 => {
            let code = if random.bool() { 0 } else { random.u8(..4) };
            bytes.extend([*pick(random, &ICMPV6_TYPES), code, 0, 0, 0, 0, 0, 0]);
        }
        _ => {}
    }
    bytes.extend((0..shape.payload_len).map(|_| random.u8(..)));
    bytes
}

/// What is tried in order rather than by chance: truncation at every length, every header length,
/// every total length, every order of extension headers, eight and nine of them.
pub fn systematic(random: &mut Rng, addresses: &Addresses) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    let kinds = [6, 17, 1, 58, 2, 50, 253];
    for is_v4 in [true, false] {
        for protocol in kinds {
            for (tags, extensions, option_words) in [
                (vec![], vec![], 0),
                (vec![0x8100], vec![0, 60, 43, 44, 51], 3),
                (vec![0x88a8, 0x8100], vec![44], 10),
                (vec![0x88a8, 0x8100, 0x8100], vec![], 0),
            ] {
                let shape = Shape {
                    is_v4,
                    tags,
                    option_words,
                    extensions,
                    protocol,
                    payload_len: 9,
                    ..Shape::default()
                };
                let whole = build(random, addresses, &shape);
                frames.extend((14..=whole.bytes.len()).map(|len| whole.bytes[..len].to_vec()));
                let length_at = whole.network + if is_v4 { 2 } else { 4 };
                for claimed in 0..=(whole.bytes.len() as u16 + 2) {
                    let mut frame = whole.bytes.clone();
                    frame[length_at..length_at + 2].copy_from_slice(&claimed.to_be_bytes());
                    frames.push(frame);
                }
                for first_byte in 0..=255 {
                    let mut frame = whole.bytes.clone();
                    frame[whole.network] = first_byte;
                    frames.push(frame);
                }
            }
        }
    }
    let mut chains = vec![vec![60; 8], vec![60; 9], vec![51; 8], vec![51; 9]];
    chains.push([0].into_iter().chain([60; 7]).collect());
    chains.push([0].into_iter().chain([60; 8]).collect());
    permute(&mut vec![0, 43, 44, 51, 60], 0, &mut chains);
    for extensions in chains {
        for protocol in [6, 17, 58, 59] {
            // 255 units: headers that lie behind the first buffer of a large frame.
            for extension_units in [0, 1, 2, 7, 255] {
                for fragment in [
                    (0, false),
                    (0, true),
                    (1, true),
                    (185, false),
                    (0x1fff, false),
                ] {
                    let shape = Shape {
                        extensions: extensions.clone(),
                        extension_units,
                        fragment,
                        protocol,
                        payload_len: 8,
                        ..Shape::default()
                    };
                    frames.push(build(random, addresses, &shape).bytes);
                }
            }
        }
    }
    frames
}

fn permute(list: &mut Vec<u8>, from: usize, all: &mut Vec<Vec<u8>>) {
    if from == list.len() {
        all.push(list.clone());
    }
    for index in from..list.len() {
        list.swap(from, index);
        permute(list, from + 1, all);
        list.swap(from, index);
    }
}
