//! Who is logged in to this host from outside: whose sessions must not be cut off.
//!
//! logind knows from which addresses somebody is logged in: their connections are sessions. Where it does not
//! tell, all connections to the SSH server's ports are: those that only try passwords look no other way. Where it
//! does, they do not count, or whoever is at it could not be banned.
//!
//! Which process holds a socket is not asked: the daemon has no right to see that.

use std::{
    collections::BTreeSet,
    fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
};

use crate::{
    kernel::Link,
    sessions::{self, Connection, SSH_PORT},
};

const SSHD_CONFIG: &str = "/etc/ssh/sshd_config";
const SSHD_DROP_INS: &str = "/etc/ssh/sshd_config.d";
const SYSTEMD: &str = "/run/systemd";
/// Below [`SYSTEMD`]: a file for each session, in the manner of environment files.
const SESSIONS: &str = "sessions";
/// Below it, too: a link that dangles, there while the unit runs. Images of containers have the directory of the
/// sessions and nobody who writes to it.
const LOGIND_RUNS: &str = "units/invocation:systemd-logind.service";
/// Where the login of SSH is told to logind, if the module for it is installed (libpam-systemd).
const PAM: [&str; 2] = ["/etc/pam.d", "/usr/lib/pam.d"];
const PAM_MODULE: &str = "pam_systemd";

/// One session, or several from one address to one port.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Session {
    pub peer: IpAddr,
    /// The port on this host.
    pub port: u16,
    /// Where the session has its end here; unknown of one that only the environment names.
    pub local: Option<IpAddr>,
    /// Who is logged in from there, where logind tells.
    pub users: BTreeSet<String>,
}

/// All of them; `own`: that in which the question is asked, far end and local port.
pub fn gather(own: Option<(IpAddr, u16)>) -> Vec<Session> {
    of(
        &sessions::connections(),
        &sshd_ports(&sshd_configs()),
        logind_logins(Path::new(SYSTEMD), &PAM.map(Path::new)).as_ref(),
        own,
    )
}

fn of(
    connections: &[Connection],
    ssh_ports: &[u16],
    logins: Option<&Logins>,
    own: Option<(IpAddr, u16)>,
) -> Vec<Session> {
    let known = logins.map_or(&[][..], |logins| &logins.known);
    let users = |peer: IpAddr| -> BTreeSet<String> {
        let of_peer = known.iter().filter(|login| login.from == peer);
        of_peer.map(|login| login.user.clone()).collect()
    };
    // An SSH server that does not register its sessions has not registered the asker's own either.
    let has_all = logins.is_some_and(|logins| !logins.has_unknown)
        && own.is_none_or(|(peer, _)| !users(peer).is_empty());
    let is_ssh = |it: &Connection| ssh_ports.contains(&it.local.port());
    // Who is logged in some other way is so at a port that is not known: each that they are connected to.
    let ssh_peers: BTreeSet<IpAddr> = connections
        .iter()
        .filter(|it| is_ssh(it))
        .map(|it| it.peer.ip())
        .collect();
    let is_login = |it: &Connection| {
        let is_of_user = !users(it.peer.ip()).is_empty();
        own == Some((it.peer.ip(), it.local.port()))
            || is_ssh(it) && (is_of_user || !has_all)
            || it.is_to_listener && is_of_user && !ssh_peers.contains(&it.peer.ip())
    };
    let mut found: Vec<Session> = connections
        .iter()
        .filter(|it| is_login(it))
        .map(|it| Session {
            peer: it.peer.ip(),
            port: it.local.port(),
            local: Some(it.local.ip()),
            users: users(it.peer.ip()),
        })
        .collect();
    if let Some((peer, port)) = own
        && !found.iter().any(|it| it.peer == peer)
    {
        found.push(Session {
            peer,
            port,
            local: None,
            users: users(peer),
        });
    }
    found.sort();
    // What a packet gets goes by both addresses and the port.
    found.dedup_by_key(|it| (it.peer, it.port, it.local));
    found
}

/// Somebody who has logged in from another host.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Login {
    from: IpAddr,
    user: String,
}

/// What logind knows.
#[derive(Default, Debug)]
struct Logins {
    known: Vec<Login>,
    /// Somebody came from a host of which only the name is known, or may have come without a word to logind.
    has_unknown: bool,
}

/// `None` where there is no logind.
fn logind_logins(systemd: &Path, pam: &[&Path]) -> Option<Logins> {
    let is_told = fs::symlink_metadata(systemd.join(LOGIND_RUNS)).is_ok() && tells_logind(pam);
    let mut logins = Logins {
        known: Vec::new(),
        has_unknown: !is_told,
    };
    for entry in fs::read_dir(systemd.join(SESSIONS)).ok()? {
        let Ok(Some(text)) = entry.and_then(|entry| read_regular(&entry.path())) else {
            continue;
        };
        match logind_login(&text) {
            None => {}
            Some(Ok(login)) => logins.known.push(login),
            Some(Err(NoAddress)) => logins.has_unknown = true,
        }
    }
    Some(logins)
}

/// Whether some service of PAM uses the module that tells logind of its logins.
fn tells_logind(pam: &[&Path]) -> bool {
    let uses_it = |text: &str| {
        let mut lines = text.lines().map(str::trim_start);
        lines.any(|line| !line.starts_with('#') && line.contains(PAM_MODULE))
    };
    let files = pam
        .iter()
        .filter_map(|directory| fs::read_dir(directory).ok());
    files.flatten().any(|entry| {
        let text = entry.and_then(|entry| read_regular(&entry.path()));
        matches!(text, Ok(Some(text)) if uses_it(&text))
    })
}

/// `None`: it is no regular file. Beside the sessions lie FIFOs that logind keeps (`ID.ref`), and whoever reads from
/// one of those waits for the end of the session.
fn read_regular(path: &Path) -> io::Result<Option<String>> {
    match fs::metadata(path)?.is_file() {
        true => fs::read_to_string(path).map(Some),
        false => Ok(None),
    }
}

/// sshd has noted a name (`UseDNS yes`), and names are not looked up.
#[derive(PartialEq, Eq, Debug)]
struct NoAddress;

/// One session's file; `None`: it came from no other host, or has ended.
fn logind_login(text: &str) -> Option<Result<Login, NoAddress>> {
    let field = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key));
        line.and_then(|rest| rest.strip_prefix('='))
            .map(|value| value.trim_matches('"'))
    };
    if field("STATE") == Some("closing") {
        return None;
    }
    let host = field("REMOTE_HOST").filter(|host| !host.is_empty())?;
    let address = host.split('%').next()?.parse::<IpAddr>();
    Some(address.map_err(|_| NoAddress).map(|from| Login {
        from: from.to_canonical(),
        user: field("USER").unwrap_or("?").to_owned(),
    }))
}

fn sshd_configs() -> Vec<String> {
    let mut files = vec![PathBuf::from(SSHD_CONFIG)];
    if let Ok(entries) = fs::read_dir(Path::new(SSHD_DROP_INS)) {
        files.extend(entries.filter_map(|entry| Some(entry.ok()?.path())));
    }
    let read = |path: PathBuf| read_regular(&path).ok().flatten();
    files.into_iter().filter_map(read).collect()
}

/// The ports of `Port` and `ListenAddress`, of sshd_config(5); without `Port` also the default one, where an address
/// without a port listens. One too many only makes more sessions count.
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
    let is_port = |line: &str| {
        let key = line.trim_start().split([' ', '\t', '=']).next();
        key.is_some_and(|key| key.eq_ignore_ascii_case("port"))
    };
    let mut ports: Vec<u16> = lines.clone().filter_map(port_of).collect();
    if !lines.clone().any(is_port) {
        ports.push(SSH_PORT);
    }
    ports
}

/// Which of this host's addresses are behind the gate.
#[derive(Default)]
pub struct Behind {
    addresses: Vec<(IpAddr, bool)>,
}

impl Behind {
    /// `addresses`: with the numbers of their interfaces. `guarded`: numbers of those with the gate, or that are to
    /// have it. Names would not do, since the gate stays on an interface that is renamed.
    ///
    /// Linux takes packets for an address of the host on any interface. So one on the loopback interface or a dummy,
    /// which nothing comes in by, is reached through some other, and that may be guarded.
    pub fn of(links: &[Link], addresses: &[(u32, IpAddr)], guarded: &[u32]) -> Self {
        let behind = behind_the_gate(links, guarded);
        let is_known = |index: &u32| {
            let link = links.iter().find(|link| link.index == *index);
            link.is_some_and(|link| {
                link.hardware_type != ARPHRD_LOOPBACK && link.kind.as_deref() != Some("dummy")
            })
        };
        let addresses = addresses
            .iter()
            .map(|(index, address)| (*address, behind.contains(index) || !is_known(index)));
        Self {
            addresses: addresses.collect(),
        }
    }

    /// Whatever cannot be told counts as behind the gate.
    pub fn holds(&self, local: Option<IpAddr>) -> bool {
        let mut of_local = self
            .addresses
            .iter()
            .filter(|(address, _)| Some(*address) == local)
            .peekable();
        of_local.peek().is_none() || of_local.any(|(_, is_behind)| *is_behind)
    }
}

/// linux/if_arp.h
const ARPHRD_LOOPBACK: u16 = 772;

/// The numbers of the interfaces whose packets come by one of `guarded`: these, what they are members
/// of, and what lies upon them, as VLANs do.
fn behind_the_gate(links: &[Link], guarded: &[u32]) -> Vec<u32> {
    let mut behind = guarded.to_vec();
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
    fn addresses_that_nobody_knows_count_as_behind_the_gate() {
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let link = |index, name: &str, hardware_type, kind: Option<&str>| Link {
            index,
            name: name.to_owned(),
            hardware_type,
            kind: kind.map(str::to_owned),
            ..Link::default()
        };
        let links = [
            link(1, "lo", ARPHRD_LOOPBACK, None),
            link(2, "eth0", 1, None),
            link(3, "eth1", 1, None),
            link(4, "service", 1, Some("dummy")),
        ];
        let addresses = [
            (2, address("192.0.2.1")),
            (3, address("192.0.2.9")),
            // The same link-local address on two interfaces.
            (3, address("fe80::1")),
            (2, address("fe80::1")),
            // Addresses of services, which packets reach through any interface.
            (1, address("192.0.2.53")),
            (4, address("192.0.2.54")),
        ];
        let behind = Behind::of(&links, &addresses, &[2]);
        for (local, expected) in [
            (Some("192.0.2.1"), true),
            (Some("192.0.2.9"), false),
            (Some("fe80::1"), true),
            (Some("192.0.2.53"), true),
            (Some("192.0.2.54"), true),
            (Some("198.51.100.1"), true),
            (None, true),
        ] {
            assert_eq!(behind.holds(local.map(address)), expected, "{local:?}");
        }
    }

    #[test]
    fn sessions_are_those_that_logind_knows_or_all_of_the_ssh_server() {
        let connection = |local: &str, peer: &str, is_to_listener| Connection {
            local: local.parse().unwrap(),
            peer: peer.parse().unwrap(),
            is_to_listener,
        };
        let connections = [
            connection("192.0.2.1:22", "198.51.100.7:50000", true),
            connection("192.0.2.1:22", "198.51.100.7:50001", true),
            // The server has ended, its sessions have not.
            connection("192.0.2.1:2222", "198.51.100.8:50000", false),
            connection("192.0.2.1:443", "198.51.100.8:50001", true),
            connection("192.0.2.1:443", "198.51.100.9:50000", true),
            connection("[2001:db8::1]:9090", "[2001:db8:1::7]:50000", true),
            // This host's own, to where somebody has come from.
            connection("[2001:db8::1]:50000", "[2001:db8:1::7]:443", false),
        ];
        let logins = |has_unknown| Logins {
            known: vec![
                Login {
                    from: "2001:db8:1::7".parse().unwrap(),
                    user: "anna".into(),
                },
                Login {
                    from: "198.51.100.8".parse().unwrap(),
                    user: "bob".into(),
                },
            ],
            has_unknown,
        };
        let shown = |logins: Option<Logins>, own: Option<(&str, u16)>| {
            let own = own.map(|(peer, port)| (peer.parse().unwrap(), port));
            of(&connections, &[22, 2222], logins.as_ref(), own)
                .iter()
                .map(|it| {
                    let users: Vec<&str> = it.users.iter().map(String::as_str).collect();
                    let local = it.local.map_or("?".to_owned(), |local| local.to_string());
                    format!("{} {} {local} {}", it.peer, it.port, users.join(","))
                })
                .collect::<Vec<String>>()
        };
        let (one, two) = ("198.51.100.7 22 192.0.2.1 ", "198.51.100.8 2222 192.0.2.1 ");
        let bob = "198.51.100.8 2222 192.0.2.1 bob";
        let anna = "2001:db8:1::7 9090 2001:db8::1 anna";
        // Without logind all who are at the server count.
        assert_eq!(shown(None, None), [one, two]);
        // With it those that it knows, at whatever port.
        assert_eq!(shown(Some(logins(false)), None), [bob, anna]);
        assert_eq!(
            shown(Some(logins(false)), Some(("198.51.100.8", 2222))),
            [bob, anna]
        );
        // It does not know all.
        assert_eq!(shown(Some(logins(true)), None), [one, bob, anna]);
        assert_eq!(
            shown(Some(logins(false)), Some(("198.51.100.7", 22))),
            [one, bob, anna]
        );
        // The own session counts wherever it ends, and if it is not to be found.
        let own = "198.51.100.9 443 192.0.2.1 ";
        assert_eq!(shown(None, Some(("198.51.100.9", 443))), [one, two, own]);
        let lost = "203.0.113.9 22 ? ";
        assert_eq!(shown(None, Some(("203.0.113.9", 22))), [one, two, lost]);
    }

    #[test]
    fn files_of_logind_tell_who_came_from_where() {
        let login =
            |text: &str| logind_login(text).map(|it| it.map(|it| (it.from.to_string(), it.user)));
        let file = |host: &str| {
            format!(
                "# This is private data. Do not parse.\nUID=0\nUSER=root\nACTIVE=1\nSTATE=active\n\
                 REMOTE=1\nTYPE=tty\nREMOTE_HOST={host}\nSERVICE=sshd\n"
            )
        };
        let root = |from: &str| Some(Ok((from.to_owned(), "root".to_owned())));
        assert_eq!(login(&file("203.0.113.7")), root("203.0.113.7"));
        assert_eq!(login(&file("::ffff:203.0.113.7")), root("203.0.113.7"));
        assert_eq!(login(&file("fe80::1%eth0")), root("fe80::1"));
        assert_eq!(login(&file("\"2001:db8::7\"")), root("2001:db8::7"));
        assert_eq!(login(&file("host.example.org")), Some(Err(NoAddress)));
        assert_eq!(login(&file("")), None);
        assert_eq!(login("UID=0\nUSER=root\nACTIVE=1\n"), None);
        let ending = file("203.0.113.7").replace("active\n", "closing\n");
        assert_eq!(login(&ending), None);
    }

    #[test]
    fn logind_knows_all_only_when_it_runs_and_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let (systemd, pam) = (
            directory.path().join("systemd"),
            directory.path().join("pam.d"),
        );
        let known = || {
            let logins = logind_logins(&systemd, &[Path::new("/nonexistent"), &pam])?;
            Some((logins.known.len(), !logins.has_unknown))
        };
        assert_eq!(known(), None);
        fs::create_dir_all(systemd.join("sessions")).unwrap();
        fs::write(
            systemd.join("sessions/1"),
            "STATE=active\nUSER=anna\nREMOTE_HOST=2001:db8::7\n",
        )
        .unwrap();
        assert_eq!(known(), Some((1, false)));
        fs::create_dir(systemd.join("units")).unwrap();
        let runs = systemd.join("units/invocation:systemd-logind.service");
        std::os::unix::fs::symlink("0123456789abcdef", &runs).unwrap();
        fs::create_dir(&pam).unwrap();
        fs::write(
            pam.join("common-session"),
            "# session optional pam_systemd.so\n",
        )
        .unwrap();
        assert_eq!(known(), Some((1, false)));
        fs::write(
            pam.join("common-session"),
            "session\toptional\tpam_systemd.so\n",
        )
        .unwrap();
        assert_eq!(known(), Some((1, true)));
        fs::remove_file(runs).unwrap();
        assert_eq!(known(), Some((1, false)));
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
            [2022, 2023, 22]
        );
        assert_eq!(
            ports("Port 2222\nListenAddress 192.0.2.1:2022\n"),
            [2222, 2022]
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
        assert_eq!(behind_the_gate(&links, &[2]), [2, 4, 5]);
        assert_eq!(behind_the_gate(&links, &[]), [0u32; 0]);
    }
}
