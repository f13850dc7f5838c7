//! Frames for the tests of the parser; lengths are right, checksums are zero.

/// A frame of IPv4 without options.
pub fn v4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    v4_with_options(0, protocol, payload)
}

pub fn v4_with_options(words: u8, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let header_len = 20 + 4 * usize::from(words);
    let total_len = (header_len + payload.len()) as u16;
    let mut frame = vec![0x02; 12];
    frame.extend([0x08, 0x00, 0x45 + words, 0]);
    frame.extend(total_len.to_be_bytes());
    frame.extend([0, 0, 0, 0, 64, protocol, 0, 0]);
    frame.extend([198, 51, 100, 7, 192, 0, 2, 1]);
    frame.resize(14 + header_len, 1);
    frame.extend(payload);
    frame
}

pub fn v6(next_header: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x02; 12];
    frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
    frame.extend((payload.len() as u16).to_be_bytes());
    frame.extend([next_header, 64]);
    for last in [7, 1] {
        frame.extend([
            0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last,
        ]);
    }
    frame.extend(payload);
    frame
}

/// SYN from 40000 to 443.
pub fn tcp() -> Vec<u8> {
    let mut header = vec![0x9c, 0x40, 0x01, 0xbb];
    header.extend([0; 8]);
    header.extend([0x50, 0x02, 0xff, 0xff, 0, 0, 0, 0]);
    header
}

/// From 40000 to 53, without payload.
pub fn udp() -> Vec<u8> {
    vec![0x9c, 0x40, 0, 53, 0, 8, 0, 0]
}

/// Code 4.
pub fn icmp(message_type: u8) -> Vec<u8> {
    vec![message_type, 4, 0, 0, 0, 0, 0, 0]
}

/// Extension headers of the smallest size that differ from each other, then the payload.
pub fn chain(numbers: &[u8], protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (index, number) in numbers.iter().enumerate() {
        let next = numbers.get(index + 1).copied().unwrap_or(protocol);
        match number {
            44 => bytes.extend([next, 0, 0, 0, 0, 0, 0, 0]),
            51 => bytes.extend([next, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            _ => bytes.extend([next, 0, 1, 4, 0, 0, 0, 0]),
        }
    }
    bytes.extend(payload);
    bytes
}

/// An IPv6 fragment header; `word`: offset in bytes, and 1 for "more fragments".
pub fn fragment(protocol: u8, word: u16, payload: &[u8]) -> Vec<u8> {
    let [high, low] = word.to_be_bytes();
    let mut bytes = vec![protocol, 0, high, low, 0, 0, 0, 1];
    bytes.extend(payload);
    bytes
}

/// `bytes` with some of them replaced.
pub fn with(bytes: &[u8], at: usize, replacement: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at..at + replacement.len()].copy_from_slice(replacement);
    bytes
}

/// The frame behind VLAN tags, the outermost first; the id 0 makes them priority tags.
pub fn tagged(tpids: &[u16], frame: &[u8]) -> Vec<u8> {
    let mut bytes = frame[..12].to_vec();
    for tpid in tpids {
        bytes.extend(tpid.to_be_bytes());
        bytes.extend([0xe0, 0]);
    }
    bytes.extend(&frame[12..]);
    bytes
}

pub fn permutations(list: &mut [u8], from: usize, all: &mut Vec<Vec<u8>>) {
    if from == list.len() {
        all.push(list.to_vec());
    }
    for index in from..list.len() {
        list.swap(from, index);
        permutations(list, from + 1, all);
        list.swap(from, index);
    }
}
