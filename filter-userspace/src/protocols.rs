//! IP protocols by name, from the IANA registry of assigned internet protocol numbers.

/// Those that a config may name, and that listings do.
pub const NAMES: [(&str, u8); 14] = [
    ("icmp", 1),
    ("igmp", 2),
    ("ipip", 4),
    ("tcp", 6),
    ("udp", 17),
    ("dccp", 33),
    ("ipv6", 41),
    ("gre", 47),
    ("esp", 50),
    ("ah", 51),
    ("icmpv6", 58),
    ("ospf", 89),
    ("vrrp", 112),
    ("sctp", 132),
];

/// `tcp`, or `protocol 253`.
pub fn name(number: u8) -> String {
    match NAMES.iter().find(|(_, known)| *known == number) {
        Some((name, _)) => (*name).to_owned(),
        None => format!("protocol {number}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_without_a_name_are_said_as_numbers() {
        assert_eq!(name(58), "icmpv6");
        assert_eq!(name(253), "protocol 253");
        for (index, (text, number)) in NAMES.iter().enumerate() {
            assert_eq!(name(*number), *text);
            assert!(NAMES[..index].iter().all(|(other, _)| other != text));
        }
    }
}
