//! The SSH session in which the command is typed, which the daemon shall not cut off.

use std::{fs, net::IpAddr};

/// How far up the process tree to look: sudo, su, a shell in a multiplexer in a shell.
const MAX_ANCESTORS: usize = 16;

/// The far end of the SSH session and the local port, if this is one.
pub fn ssh_peer() -> Option<(IpAddr, u16)> {
    if let Ok(connection) = std::env::var("SSH_CONNECTION") {
        return parse_connection(&connection);
    }
    // sudo removes the variable; the shell above it still has it.
    let mut pid = std::process::id();
    for _ in 0..MAX_ANCESTORS {
        pid = parent_of(pid)?;
        if let Ok(environment) = fs::read(format!("/proc/{pid}/environ"))
            && let Some(connection) = connection_in(&environment)
        {
            return parse_connection(&connection);
        }
    }
    None
}

/// `CLIENT CLIENT-PORT SERVER SERVER-PORT`, as sshd(8) sets it.
fn parse_connection(connection: &str) -> Option<(IpAddr, u16)> {
    let fields: Vec<&str> = connection.split_ascii_whitespace().collect();
    let address = fields.first()?.split('%').next()?.parse::<IpAddr>().ok()?;
    Some((address.to_canonical(), fields.get(3)?.parse().ok()?))
}

fn connection_in(environment: &[u8]) -> Option<String> {
    environment
        .split(|byte| *byte == 0)
        .find_map(|entry| entry.strip_prefix(b"SSH_CONNECTION="))
        .map(|value| String::from_utf8_lossy(value).into_owned())
}

/// Field 4 of /proc/PID/stat; field 2 is a name in parentheses that may hold anything.
fn parent_of(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after_name) = stat.rsplit_once(')')?;
    let parent = after_name.split_ascii_whitespace().nth(1)?.parse().ok()?;
    (parent > 1).then_some(parent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peer_and_local_port_are_read_from_the_variable() {
        let cases = [
            ("192.0.2.1 50000 198.51.100.1 22", Some(("192.0.2.1", 22))),
            (
                "2001:db8::1 50000 2001:db8::2 2222",
                Some(("2001:db8::1", 2222)),
            ),
            (
                "::ffff:192.0.2.1 1 ::ffff:192.0.2.2 22",
                Some(("192.0.2.1", 22)),
            ),
            ("fe80::1%eth0 1 fe80::2%eth0 22", Some(("fe80::1", 22))),
            ("192.0.2.1 50000", None),
            ("", None),
        ];
        for (text, expected) in cases {
            let expected = expected.map(|(address, port)| (address.parse().unwrap(), port));
            assert_eq!(parse_connection(text), expected, "{text}");
        }
        assert_eq!(
            connection_in(b"A=1\0SSH_CONNECTION=a b c d\0B=2\0"),
            Some("a b c d".to_owned())
        );
    }
}
