//! Who is connected to this host right now, from the kernel's list of TCP sockets.

use std::{
    collections::BTreeSet,
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

/// Where sshd listens, unless somebody moved it; the port of the session in which a command is typed
/// is known besides.
pub const SSH_PORT: u16 = 22;

/// An established connection with another host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Connection {
    pub local: SocketAddr,
    pub peer: SocketAddr,
    /// Somebody listens on the local port, so that the other side has opened it; this host's own have ports on
    /// which nobody listens.
    pub is_to_listener: bool,
}

/// A connection that somebody opened to this host.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Session {
    pub address: IpAddr,
    /// The local port.
    pub port: u16,
}

/// The established TCP connections of this network namespace, but for those with the host itself.
///
/// Where the kernel does not say it (without /proc) nobody is connected.
pub fn connections() -> Vec<Connection> {
    let sockets: Vec<Socket> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .into_iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .flat_map(|text| text.lines().filter_map(parse).collect::<Vec<_>>())
        .collect();
    connections_of(&sockets)
}

/// The connections that others have opened, each address and port once.
pub fn inbound() -> BTreeSet<Session> {
    inbound_of(&connections())
}

fn connections_of(sockets: &[Socket]) -> Vec<Connection> {
    let listening: BTreeSet<u16> = sockets
        .iter()
        .filter(|socket| socket.state == LISTEN)
        .map(|socket| socket.local.port())
        .collect();
    sockets
        .iter()
        .filter(|socket| socket.state == ESTABLISHED && !socket.remote.ip().is_loopback())
        .map(|socket| Connection {
            local: socket.local,
            peer: socket.remote,
            is_to_listener: listening.contains(&socket.local.port()),
        })
        .collect()
}

fn inbound_of(connections: &[Connection]) -> BTreeSet<Session> {
    let inbound = connections.iter().filter(|it| it.is_to_listener);
    inbound
        .map(|it| Session {
            address: it.peer.ip(),
            port: it.local.port(),
        })
        .collect()
}

// include/net/tcp_states.h
const ESTABLISHED: u8 = 0x01;
const LISTEN: u8 = 0x0a;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Socket {
    local: SocketAddr,
    remote: SocketAddr,
    state: u8,
}

/// `sl: LOCAL:PORT REMOTE:PORT STATE …` in hexadecimal (proc_pid_net(5)).
fn parse(line: &str) -> Option<Socket> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    Some(Socket {
        local: end(fields.next()?)?,
        remote: end(fields.next()?)?,
        state: u8::from_str_radix(fields.next()?, 16).ok()?,
    })
}

fn end(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    Some(SocketAddr::new(address(ip)?, port))
}

/// Words of 32 bits, each printed as the number that the host reads in them.
fn address(text: &str) -> Option<IpAddr> {
    let word = |at: usize| {
        let digits = text.get(at * 8..at * 8 + 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    let address = match text.len() {
        8 => Ipv4Addr::from(word(0)?).into(),
        32 => {
            let mut bytes = [0; 16];
            for (at, four) in bytes.chunks_exact_mut(4).enumerate() {
                four.copy_from_slice(&word(at)?);
            }
            IpAddr::from(Ipv6Addr::from(bytes))
        }
        _ => return None,
    };
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    /// As a little-endian kernel prints them.
    #[cfg(target_endian = "little")]
    #[test]
    fn sessions_are_those_that_others_opened() {
        let text = "  sl  local_address rem_address   st tx_queue rx_queue
   0: 00000000:0016 00000000:0000 0A 00000000:00000000
   1: 0100007F:0016 0100007F:C001 01 00000000:00000000
   2: 010200C0:0016 076433C6:D431 01 00000000:00000000
   3: 010200C0:C350 076433C6:01BB 01 00000000:00000000
   4: 010200C0:0016 096433C6:D431 06 00000000:00000000
   5: B80D01200000000000000000010000FF:0016 B80D0120000000000000000007000000:C351 01 0:0
   6: 0000000000000000FFFF0000010200C0:0016 0000000000000000FFFF0000087100CB:C351 01 0:0
   7: broken";
        let sockets: Vec<Socket> = text.lines().filter_map(parse).collect();
        assert_eq!(sockets.len(), 7);
        let connections = connections_of(&sockets);
        let own: Vec<Connection> = connections
            .iter()
            .copied()
            .filter(|it| !it.is_to_listener)
            .collect();
        let own_to_https = Connection {
            local: "192.0.2.1:50000".parse().unwrap(),
            peer: "198.51.100.7:443".parse().unwrap(),
            is_to_listener: false,
        };
        assert_eq!(own, [own_to_https]);
        let sessions: Vec<String> = inbound_of(&connections)
            .iter()
            .map(|session| format!("{} {}", session.address, session.port))
            .collect();
        assert_eq!(
            sessions,
            ["198.51.100.7 22", "203.0.113.8 22", "2001:db8::7 22"]
        );
    }

    #[test]
    fn kernel_of_this_host_is_understood() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let far = stream.local_addr().unwrap();
        // Only then the listener's end stands for certain.
        let _near_end = listener.accept().unwrap();
        let text = fs::read_to_string("/proc/net/tcp").unwrap();
        let sockets: Vec<Socket> = text.lines().filter_map(parse).collect();
        let expected = Socket {
            local: listener.local_addr().unwrap(),
            remote: far,
            state: ESTABLISHED,
        };
        assert!(sockets.contains(&expected), "{expected:?}\n{text}");
        // From this host itself: nobody who could be cut off.
        assert!(inbound().iter().all(|session| session.port != port));
    }
}
