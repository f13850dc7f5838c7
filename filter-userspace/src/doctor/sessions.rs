//! SSH sessions that stand now: whose far ends must not be locked out.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
};

use crate::kernel::Link;

const SSHD_CONFIG: &str = "/etc/ssh/sshd_config";
const SSHD_DROP_INS: &str = "/etc/ssh/sshd_config.d";
const DEFAULT_PORT: u16 = 22;

/// One session.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Session {
    pub peer: IpAddr,
    /// The port on this host.
    pub port: u16,
    /// Where the session has its end here; unknown of one that only the environment names.
    pub local: Option<IpAddr>,
}

/// All of them; `own`: that in which the doctor runs.
pub fn gather(own: Option<(IpAddr, u16)>) -> Vec<Session> {
    let ports = sshd_ports(&sshd_configs());
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
    let texts = tables.map(|path| fs::read_to_string(path).unwrap_or_default());
    let mut sessions: Vec<Session> = texts
        .iter()
        .flat_map(|text| established(text))
        .filter(|it| ports.contains(&it.port) || own == Some((it.peer, it.port)))
        .filter(|it| !it.peer.is_loopback())
        .collect();
    if let Some((peer, port)) = own
        && !sessions.iter().any(|it| it.peer == peer)
    {
        sessions.push(Session {
            peer,
            port,
            local: None,
        });
    }
    sessions.sort();
    // One look at each source is enough.
    sessions.dedup_by_key(|it| (it.peer, it.port));
    sessions
}

/// The established connections of /proc/net/tcp or tcp6, seen from this host.
fn established(table: &str) -> Vec<Session> {
    const ESTABLISHED: &str = "01";
    let session = |line: &str| {
        let columns: Vec<&str> = line.split_ascii_whitespace().collect();
        let (local, port) = end(columns.get(1)?)?;
        let (peer, _) = end(columns.get(2)?)?;
        (*columns.get(3)? == ESTABLISHED).then_some(Session {
            peer,
            port,
            local: Some(local),
        })
    };
    table.lines().skip(1).filter_map(session).collect()
}

/// `0100007F:0016`: words of the address as the host keeps them in memory, and the port.
fn end(text: &str) -> Option<(IpAddr, u16)> {
    let (address, port) = text.split_once(':')?;
    let mut bytes = Vec::new();
    for start in (0..address.len()).step_by(8) {
        let word = u32::from_str_radix(address.get(start..start + 8)?, 16).ok()?;
        bytes.extend(word.to_ne_bytes());
    }
    let address = match bytes.len() {
        4 => Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into(),
        16 => IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?)).to_canonical(),
        _ => return None,
    };
    Some((address, u16::from_str_radix(port, 16).ok()?))
}

fn sshd_configs() -> Vec<String> {
    let mut files = vec![PathBuf::from(SSHD_CONFIG)];
    if let Ok(entries) = fs::read_dir(Path::new(SSHD_DROP_INS)) {
        files.extend(entries.filter_map(|entry| Some(entry.ok()?.path())));
    }
    let read = |path: PathBuf| fs::read_to_string(path).ok();
    files.into_iter().filter_map(read).collect()
}

/// The ports of `Port` and `ListenAddress`, of sshd_config(5).
fn sshd_ports(configs: &[String]) -> Vec<u16> {
    let port_of = |line: &str| {
        let mut words = line.split([' ', '\t', '=']).filter(|word| !word.is_empty());
        let (key, value) = (words.next()?.to_ascii_lowercase(), words.next()?);
        match key.as_str() {
            "port" => value.parse().ok(),
            "listenaddress" => {
                // Of an IPv6 address without brackets every colon is its own.
                let (host, port) = value.rsplit_once(':')?;
                let is_bare_v6 = host.contains(':') && !host.ends_with(']');
                port.parse().ok().filter(|_| !is_bare_v6)
            }
            _ => None,
        }
    };
    let lines = configs.iter().flat_map(|text| text.lines());
    let mut ports: Vec<u16> = lines.filter_map(port_of).collect();
    if ports.is_empty() {
        ports.push(DEFAULT_PORT);
    }
    ports
}

/// The numbers of the interfaces whose packets come by one of `guarded`: these, what they are members
/// of, and what lies upon them, as VLANs do.
pub fn behind_the_gate(links: &[Link], guarded: &[String]) -> Vec<u32> {
    let mut behind: Vec<u32> = links
        .iter()
        .filter(|link| guarded.contains(&link.name))
        .map(|link| link.index)
        .collect();
    let mut next = 0;
    while let Some(&index) = behind.get(next) {
        next += 1;
        let master = links
            .iter()
            .find(|link| link.index == index)
            .and_then(|link| link.master);
        let upon = links
            .iter()
            .filter(|link| link.lower == Some(index))
            .map(|link| link.index);
        for found in master.into_iter().chain(upon) {
            if !behind.contains(&found) {
                behind.push(found);
            }
        }
    }
    behind
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn established_connections_are_read_in_both_families() {
        let v4 = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt\n   \
                  0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000\n   \
                  1: 010200C0:0016 076433C6:C350 01 00000000:00000000 00:00000000 00000000\n";
        let session = |peer: &str, port, local: &str| Session {
            peer: peer.parse().unwrap(),
            port,
            local: Some(local.parse().unwrap()),
        };
        // Words are shown as a little-endian host has them.
        if cfg!(target_endian = "little") {
            assert_eq!(established(v4), [session("198.51.100.7", 22, "192.0.2.1")]);
            let v6 = "  sl  local_address remote_address st\n   \
                      0: B80D0120000000000000000001000000:08AE \
                      B80D0120010000000000000007000000:C350 01 0\n   \
                      1: 0000000000000000FFFF0000010200C0:0016 \
                      0000000000000000FFFF0000076433C6:C350 01 0\n";
            assert_eq!(
                established(v6),
                [
                    session("2001:db8:0:1::7", 2222, "2001:db8::1"),
                    session("198.51.100.7", 22, "192.0.2.1")
                ]
            );
        }
        assert_eq!(established("head\nnonsense\n 0: 01:1 02:2 01\n"), []);
    }

    #[test]
    fn ports_of_the_ssh_server_are_read_from_its_config() {
        let ports = |text: &str| sshd_ports(&[text.to_owned()]);
        assert_eq!(ports("#Port 2222\nPermitRootLogin no\n"), [22]);
        assert_eq!(ports("Port 2222\nport=2200\n"), [2222, 2200]);
        assert_eq!(
            ports(
                "ListenAddress 192.0.2.1:2022\nListenAddress [2001:db8::1]:2023\nListenAddress 2001:db8::1\n"
            ),
            [2022, 2023]
        );
        assert_eq!(sshd_ports(&[]), [22]);
    }

    #[test]
    fn what_lies_upon_a_guarded_interface_is_behind_the_gate() {
        let link = |index, name: &str, master, lower| Link {
            index,
            name: name.into(),
            master,
            lower,
            ..Link::default()
        };
        let links = [
            link(1, "lo", None, None),
            link(2, "eth0", Some(4), None),
            link(3, "eth1", None, None),
            link(4, "br0", None, None),
            link(5, "br0.7", None, Some(4)),
            link(6, "eth1.7", None, Some(3)),
        ];
        assert_eq!(behind_the_gate(&links, &["eth0".into()]), [2, 4, 5]);
        assert_eq!(behind_the_gate(&links, &["gone".into()]), [0u32; 0]);
    }
}
