//! The connections that this host's own sockets hold open, from /proc/thread-self/net.

use std::{
    collections::HashSet,
    io,
    net::{IpAddr, SocketAddr},
};

use procfs::{
    FromReadSI as _, ProcResult, current_system_info,
    net::{TcpNetEntries, TcpNetEntry, TcpState, UdpNetEntries, UdpNetEntry},
};

use crate::both::both;

/// What a socket speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Protocol {
    Tcp,
    Udp,
}

/// A socket with a peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct OpenSocket {
    pub protocol: Protocol,
    pub ours: SocketAddr,
    pub theirs: SocketAddr,
}

/// Those of this network namespace that began on this host.
pub(super) fn opened_here() -> io::Result<Vec<OpenSocket>> {
    // Of this thread: another one of the process may be in another network namespace.
    let tcp = |file| TcpNetEntries::from_file(file, current_system_info()).map(|list| list.0);
    let udp = |file| UdpNetEntries::from_file(file, current_system_info()).map(|list| list.0);
    let all_tcp = || {
        families(
            tcp("/proc/thread-self/net/tcp"),
            tcp("/proc/thread-self/net/tcp6"),
        )
    };
    let all_udp = || {
        families(
            udp("/proc/thread-self/net/udp"),
            udp("/proc/thread-self/net/udp6"),
        )
    };
    // Each walks a table of the kernel's, which takes some milliseconds.
    let (tcp, udp) = both(all_tcp, all_udp)?;
    let mut opened = tcp_opened_here(&tcp?);
    opened.extend(udp_opened_here(&udp?));
    Ok(opened)
}

/// A kernel without IPv6 has no list of it.
fn families<T>(v4: ProcResult<Vec<T>>, v6: ProcResult<Vec<T>>) -> io::Result<Vec<T>> {
    let mut entries = v4.map_err(io::Error::other)?;
    match v6 {
        Ok(more) => entries.extend(more),
        Err(procfs::ProcError::NotFound(_)) => {}
        Err(error) => return Err(io::Error::other(error)),
    }
    Ok(entries)
}

/// The kernel does not say which side began; a port that somebody listens on was most likely connected to.
fn tcp_opened_here(entries: &[TcpNetEntry]) -> Vec<OpenSocket> {
    let listening: HashSet<u16> = entries
        .iter()
        .filter(|entry| entry.state == TcpState::Listen)
        .map(|entry| entry.local_address.port())
        .collect();
    entries
        .iter()
        .filter(|entry| is_open(&entry.state) && !listening.contains(&entry.local_address.port()))
        .map(|entry| open(Protocol::Tcp, entry.local_address, entry.remote_address))
        .collect()
}

/// A datagram socket with a peer was connected by this side.
fn udp_opened_here(entries: &[UdpNetEntry]) -> Vec<OpenSocket> {
    entries
        .iter()
        .filter(|entry| entry.remote_address.port() != 0)
        .map(|entry| open(Protocol::Udp, entry.local_address, entry.remote_address))
        .collect()
}

fn is_open(state: &TcpState) -> bool {
    matches!(
        state,
        TcpState::Established
            | TcpState::SynSent
            | TcpState::FinWait1
            | TcpState::FinWait2
            | TcpState::CloseWait
            | TcpState::LastAck
            | TcpState::Closing
    )
}

fn open(protocol: Protocol, ours: SocketAddr, theirs: SocketAddr) -> OpenSocket {
    OpenSocket {
        protocol,
        ours: on_the_wire(ours),
        theirs: on_the_wire(theirs),
    }
}

/// A socket of both families shows an IPv4 peer in IPv6's clothes.
fn on_the_wire(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), IpAddr::V4),
        v4 => v4,
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use procfs::FromReadSI;

    use super::*;

    /// A file of /proc/net as a machine writes it that stores the lowest byte first.
    fn listed<T: FromReadSI>(lines: &[&str]) -> T {
        let mut text =
            "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   \
                        uid  timeout inode\n"
                .to_owned();
        for (number, line) in lines.iter().enumerate() {
            text += &format!(
                "{number:4}: {line} 00000000:00000000 00:00000000 00000000     0        0 {number} 1 0 \
                 100 0 0 10 0\n"
            );
        }
        T::from_read(Cursor::new(text), current_system_info()).expect("a list like the kernel's")
    }

    fn pairs(opened: &[OpenSocket]) -> Vec<(String, String)> {
        let pair = |it: &OpenSocket| (it.ours.to_string(), it.theirs.to_string());
        opened.iter().map(pair).collect()
    }

    fn expected(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = |(ours, theirs): &(&str, &str)| ((*ours).to_owned(), (*theirs).to_owned());
        pairs.iter().map(owned).collect()
    }

    #[test]
    fn connections_of_listening_ports_began_elsewhere() {
        const OURS: &str = "B80D0120000000000000000001000000";
        const THEIRS: &str = "B80D0120000000000000000002000000";
        let mut entries = listed::<TcpNetEntries>(&[
            // Listening on 22; a client of it; a connection to another host's 22; one in TIME_WAIT.
            "00000000:0016 00000000:0000 0A",
            "010200C0:0016 076433C6:C350 01",
            "010200C0:9C40 076433C6:0016 01",
            "010200C0:9C41 076433C6:0016 06",
        ])
        .0;
        let mapped =
            "0000000000000000FFFF0000010200C0:9C42 0000000000000000FFFF0000076433C6:01BB 08";
        let (sent, served) = (
            format!("{OURS}:9C43 {THEIRS}:01BB 02"),
            format!("{OURS}:0016 {THEIRS}:01BB 01"),
        );
        entries.extend(listed::<TcpNetEntries>(&[mapped, &sent, &served]).0);
        assert_eq!(
            pairs(&tcp_opened_here(&entries)),
            expected(&[
                ("192.0.2.1:40000", "198.51.100.7:22"),
                ("192.0.2.1:40002", "198.51.100.7:443"),
                ("[2001:db8::1]:40003", "[2001:db8::2]:443"),
            ])
        );
    }

    #[test]
    fn datagram_sockets_with_a_peer_were_connected_here() {
        let entries = listed::<UdpNetEntries>(&[
            "00000000:0035 00000000:0000 07",
            "010200C0:9C40 076433C6:0035 01",
        ])
        .0;
        assert_eq!(
            pairs(&udp_opened_here(&entries)),
            expected(&[("192.0.2.1:40000", "198.51.100.7:53")])
        );
    }
}
