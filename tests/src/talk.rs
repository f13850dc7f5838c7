//! Real sockets: a host that echoes, and visitors that speak from an address of their choice.

use crate::{guarded::Guarded, netns::NetNs, places::Family};
use socket2::{Domain, Protocol, Socket, Type};
use std::{
    io::{self, Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::AsRawFd as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// Longest wait for an answer that is expected to come.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// Longest silence of a visitor until its echo ends: a daemon may be started in the middle of a conversation.
const SILENCE_LIMIT: Duration = Duration::from_secs(120);
/// How often a service looks whether it shall end.
const STOP_INTERVAL: Duration = Duration::from_millis(20);

const ICMP_ECHO_REQUEST: u8 = 8;
const ICMPV6_ECHO_REQUEST: u8 = 128;

/// TCP and UDP echo on some ports of a host. Ends when it is dropped.
#[derive(Debug)]
pub struct EchoService {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl EchoService {
    pub fn start(host: &NetNs, ports: &[u16]) -> Self {
        Self::start_at(host, &Family::BOTH.map(Guarded::host_in), ports)
    }

    /// On these addresses of `host`.
    pub fn start_at(host: &NetNs, addresses: &[IpAddr], ports: &[u16]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        for address in addresses {
            for port in ports {
                let address = SocketAddr::new(*address, *port);
                let (listener, socket) = host
                    .run(|| (TcpListener::bind(address), UdpSocket::bind(address)))
                    .unwrap();
                let (listener, socket) = (listener.unwrap(), socket.unwrap());
                let (stop_tcp, stop_udp) = (stop.clone(), stop.clone());
                threads.push(thread::spawn(move || serve_tcp(&listener, &stop_tcp)));
                threads.push(thread::spawn(move || serve_udp(&socket, &stop_udp)));
            }
        }
        Self { stop, threads }
    }
}

impl Drop for EchoService {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A panic in there has been printed already; one more would end the process.
            let _ = thread.join();
        }
    }
}

fn serve_tcp(listener: &TcpListener, stop: &AtomicBool) {
    listener.set_nonblocking(true).unwrap();
    while !stop.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((stream, _)) => {
                thread::spawn(move || echo(stream));
            }
            Err(_) => thread::sleep(Duration::from_millis(2)),
        }
    }
}

fn echo(mut stream: TcpStream) {
    // A visitor that leaves ends its echo, which is no fault of the service.
    let _ = stream.set_nonblocking(false);
    let _ = stream.set_read_timeout(Some(SILENCE_LIMIT));
    let mut buffer = vec![0; 65_536];
    while let Ok(len @ 1..) = uninterrupted(|| stream.read(&mut buffer)) {
        if stream.write_all(&buffer[..len]).is_err() {
            return;
        }
    }
}

fn serve_udp(socket: &UdpSocket, stop: &AtomicBool) {
    socket.set_read_timeout(Some(STOP_INTERVAL)).unwrap();
    let mut buffer = vec![0; 65_536];
    while !stop.load(Ordering::Relaxed) {
        if let Ok((len, from)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(&buffer[..len], from);
        }
    }
}

/// Connects, sends `text`, and reads it back.
pub fn tcp_echo(netns: &NetNs, source: IpAddr, target: SocketAddr, text: &[u8]) -> io::Result<()> {
    let socket = socket(netns, source, Type::STREAM, None)?;
    socket.connect_timeout(&target.into(), ANSWER_LIMIT)?;
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(ANSWER_LIMIT))?;
    stream.set_write_timeout(Some(ANSWER_LIMIT))?;
    let mut writer = stream.try_clone()?;
    let mut back = Vec::with_capacity(text.len());
    thread::scope(|scope| {
        let sent = scope.spawn(move || {
            writer.write_all(text)?;
            writer.shutdown(std::net::Shutdown::Write)
        });
        stream.read_to_end(&mut back)?;
        sent.join().expect("invariant: the writer does not panic")
    })?;
    same(text, &back)
}

/// Sends the first packet of a connection and does not wait. Dropping the socket within a second
/// keeps the kernel from sending it again.
pub fn tcp_knock(netns: &NetNs, source: IpAddr, target: SocketAddr) -> io::Result<Socket> {
    let socket = socket(netns, source, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    match socket.connect(&target.into()) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        _ => Ok(socket),
    }
}

/// How often the kernel has sent a segment of it again.
pub fn retransmissions(socket: &Socket) -> u64 {
    // SAFETY: all zeroes is a value of it.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut len = size_of_val(&info) as libc::socklen_t;
    // SAFETY: the pointers are to values of our own, and the length is that of the first.
    let status = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut info).cast(),
            &raw mut len,
        )
    };
    assert_eq!(status, 0, "{}", io::Error::last_os_error());
    info.tcpi_total_retrans.into()
}

/// True once the handshake is done.
pub fn is_connected(socket: &Socket) -> bool {
    socket.peer_addr().is_ok()
}

/// Sends one datagram; the socket to wait for the answer on.
pub fn udp_send(
    netns: &NetNs,
    source: IpAddr,
    target: SocketAddr,
    text: &[u8],
) -> io::Result<Socket> {
    let socket = socket(netns, source, Type::DGRAM, None)?;
    // Fragments are the test's wish where the datagram is larger than the MTU.
    socket.connect(&target.into())?;
    socket.send(text)?;
    Ok(socket)
}

/// A connection that stays open.
pub struct Conversation(TcpStream);

impl Conversation {
    pub fn open(netns: &NetNs, source: IpAddr, target: SocketAddr) -> io::Result<Self> {
        let socket = socket(netns, source, Type::STREAM, None)?;
        socket.connect_timeout(&target.into(), ANSWER_LIMIT)?;
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(ANSWER_LIMIT))?;
        stream.set_write_timeout(Some(ANSWER_LIMIT))?;
        Ok(Self(stream))
    }

    /// Sends `text` and reads it back.
    pub fn say(&mut self, text: &[u8]) -> io::Result<()> {
        self.0.write_all(text)?;
        let mut back = vec![0; text.len()];
        self.0.read_exact(&mut back)?;
        same(text, &back)
    }
}

/// Waits for the answer to what was sent, and compares it.
pub fn hear(socket: &mut Socket, text: &[u8]) -> io::Result<()> {
    same(text, &answer(socket)?)
}

/// Sends one datagram and reads it back.
pub fn udp_echo(netns: &NetNs, source: IpAddr, target: SocketAddr, text: &[u8]) -> io::Result<()> {
    let mut socket = udp_send(netns, source, target, text)?;
    same(text, &answer(&mut socket)?)
}

/// Sends one ICMP or ICMPv6 echo request; the socket to wait for the reply on.
pub fn ping_send(netns: &NetNs, source: IpAddr, target: IpAddr) -> io::Result<Socket> {
    let (protocol, message_type) = match source {
        IpAddr::V4(_) => (Protocol::ICMPV4, ICMP_ECHO_REQUEST),
        IpAddr::V6(_) => (Protocol::ICMPV6, ICMPV6_ECHO_REQUEST),
    };
    // Such sockets are for the groups that this sysctl names; it holds for both families.
    netns
        .sysctl("net/ipv4/ping_group_range", "0 0")
        .map_err(io::Error::other)?;
    let socket = socket(netns, source, Type::DGRAM, Some(protocol))?;
    // The kernel fills in checksum and identifier.
    let message = [&[message_type, 0, 0, 0, 0, 0, 0, 1], PING_TEXT].concat();
    socket.send_to(&message, &SocketAddr::new(target, 0).into())?;
    Ok(socket)
}

const PING_TEXT: &[u8] = b"is anybody there?";

/// Sends one echo request and waits for the reply.
pub fn ping(netns: &NetNs, source: IpAddr, target: IpAddr) -> io::Result<()> {
    let reply = answer(&mut ping_send(netns, source, target)?)?;
    same(PING_TEXT, &reply[8..])
}

/// Calls until nothing interrupts: with a time limit the kernel does not go on by itself when a process was stopped
/// meanwhile (signal(7)). As each call begins the limit anew, this gives up after a while.
pub fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    const LIMIT: Duration = Duration::from_secs(20);
    let begun = Instant::now();
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted && begun.elapsed() < LIMIT => {
            }
            outcome => return outcome,
        }
    }
}

fn answer(socket: &mut Socket) -> io::Result<Vec<u8>> {
    socket.set_read_timeout(Some(ANSWER_LIMIT))?;
    let mut buffer = vec![0; 65_536];
    let len = uninterrupted(|| socket.read(&mut buffer))?;
    buffer.truncate(len);
    Ok(buffer)
}

fn socket(
    netns: &NetNs,
    source: IpAddr,
    kind: Type,
    protocol: Option<Protocol>,
) -> io::Result<Socket> {
    netns
        .run(|| {
            let domain = match source {
                IpAddr::V4(_) => Domain::IPV4,
                IpAddr::V6(_) => Domain::IPV6,
            };
            let socket = Socket::new(domain, kind, protocol)?;
            socket.bind(&SocketAddr::new(source, 0).into())?;
            Ok(socket)
        })
        .map_err(io::Error::other)?
}

fn same(sent: &[u8], back: &[u8]) -> io::Result<()> {
    if sent == back {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "{} bytes went out, {} other ones came back",
        sent.len(),
        back.len()
    )))
}
