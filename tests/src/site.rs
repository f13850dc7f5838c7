//! A small site: a host behind the gate, the world outside, and a database of two countries.

use crate::{
    daemon::{Cerco, cerco_binary},
    error::{Error, Result, run_to_end},
    frames::Frame,
    netns::NetNs,
    poll,
    raw::RawSocket,
    veth::{End, Mac, Veth},
};
use std::{
    fs,
    io::Write as _,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
};
use tempfile::TempDir;

/// How long frames may be on the cable.
const DELIVERY_LIMIT: Duration = Duration::from_secs(5);
/// The link that the gate stands on, in [`Site::host`].
pub const LINK: &str = "eth0";
/// Addresses of the country that the policy allows, and of one that it does not.
pub const MACAU: [&str; 2] = ["198.51.100.7", "2001:db8:1::7"];
pub const ABROAD: [&str; 2] = ["203.0.113.7", "2001:db8:2::7"];

/// Small, so that a daemon starts fast; the builtin one has tests of its own.
const DATABASE: &str = "198.51.100.0,198.51.100.255,MO\n203.0.113.0,203.0.113.255,US\n\
                        2001:db8:1::,2001:db8:1:ffff:ffff:ffff:ffff:ffff,MO\n\
                        2001:db8:2::,2001:db8:2:ffff:ffff:ffff:ffff:ffff,US\n";

/// Two namespaces, a cable between them, and a directory for files.
#[derive(Debug)]
pub struct Site {
    pub host: NetNs,
    pub world: NetNs,
    pub veth: Veth,
    directory: TempDir,
}

impl Site {
    pub fn new() -> Result<Self> {
        let (host, world) = (NetNs::new()?, NetNs::new()?);
        let end = |netns, addresses| End {
            netns,
            name: LINK,
            addresses,
        };
        let veth = Veth::new(
            &end(&world, &["192.0.2.2/24", "2001:db8::2/64"]),
            &end(&host, &["192.0.2.1/24", "2001:db8::1/64"]),
            1500,
        )?;
        let directory = TempDir::with_prefix("cerco-site-")
            .map_err(|source| Error::os("make a temporary directory", source))?;
        let site = Self {
            host,
            world,
            veth,
            directory,
        };
        site.write("database.csv", DATABASE)?;
        Ok(site)
    }

    /// A config that allows Macau and drops the rest. `top` goes before the first section, `more`
    /// behind the last one.
    pub fn config_with(&self, top: &str, more: &str) -> String {
        let interfaces = match top.contains("interfaces") {
            true => String::new(),
            false => format!("interfaces = [\"{LINK}\"]\n"),
        };
        let mode = match top.contains("mode") {
            true => "",
            false => "mode = \"enforce\"\n",
        };
        format!(
            "{interfaces}{mode}{top}\n[geo]\ndatabase = \"{}\"\n[policy.countries]\nMO = \"allow\"\n{more}",
            self.path("database.csv").display()
        )
    }

    pub fn config(&self) -> String {
        self.config_with("", "")
    }

    /// A daemon with [`Site::config`].
    pub fn start(&self) -> Result<Cerco> {
        Cerco::start(&self.host, &self.config())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> Result<PathBuf> {
        let path = self.path(name);
        fs::write(&path, content)
            .map_err(|source| Error::os(format!("write {}", path.display()), source))?;
        Ok(path)
    }

    /// A copy of the binary that every user can run: the build's own directories may be closed to others.
    pub fn binary_for_all(&self) -> Result<PathBuf> {
        let binary = self.path("cerco");
        // Not by this process: a child that another test starts meanwhile would have the copy open for writing until
        // its exec, and the kernel runs no such file (ETXTBSY).
        run_to_end(
            Command::new("cp").arg(cerco_binary()?).arg(&binary),
            "copy the binary",
        )?;
        fs::set_permissions(self.directory(), fs::Permissions::from_mode(0o755))
            .map_err(|source| Error::os("open a directory to all", source))?;
        Ok(binary)
    }

    /// A connection that the host itself has to `port` of `address`, outside: both ends of it.
    pub fn own_connection(&self, address: &str, port: u16) -> (TcpListener, TcpStream) {
        let address = SocketAddr::new(address.parse().unwrap(), port);
        const LIMIT: Duration = Duration::from_secs(10);
        let listen = || TcpListener::bind(address).unwrap();
        let listener = self.world.run(listen).unwrap();
        let connect = || TcpStream::connect_timeout(&address, LIMIT).unwrap();
        let stream = self.host.run(connect).unwrap();
        (listener, stream)
    }

    /// A frame that asks the host for port 80, from `source`.
    pub fn syn_from(&self, source: &str) -> Vec<u8> {
        self.syn_to(80, source)
    }

    /// A frame that asks the host for `port`, from `source`.
    pub fn syn_to(&self, port: u16, source: &str) -> Vec<u8> {
        let source: IpAddr = source.parse().expect("a test writes valid addresses");
        let host: IpAddr = match source {
            IpAddr::V4(_) => [192, 0, 2, 1].into(),
            IpAddr::V6(_) => [0x2001, 0xdb8, 0, 0, 0, 0, 0, 1].into(),
        };
        let ends: (Mac, Mac) = (self.veth.a_mac, self.veth.b_mac);
        Frame::tcp_syn(
            (ends.0, SocketAddr::new(source, 40_000)),
            (ends.1, SocketAddr::new(host, port)),
        )
        .bytes()
    }

    /// Sends `count` such frames, from outside.
    pub fn send(&self, source: &str, count: usize) -> Result<()> {
        self.send_to(80, source, count)
    }

    /// Sends `count` frames that ask for `port`, from outside.
    pub fn send_to(&self, port: u16, source: &str, count: usize) -> Result<()> {
        let socket = RawSocket::open_sender(&self.world, LINK)?;
        let frame = self.syn_to(port, source);
        let before = self.received();
        (0..count).try_for_each(|_| socket.send(&frame))?;
        let all_came = || {
            let (before, now) = (before?, self.received()?);
            Some(now.saturating_sub(before) >= count as u64)
        };
        // On a busy machine the host's end takes them some time after they were sent. Where there is no end that
        // counts, nobody can wait for it.
        let _ = poll::until("deliver all frames", DELIVERY_LIMIT, || {
            all_came().unwrap_or(true).then_some(())
        });
        Ok(())
    }

    /// Frames that the host's end of the cable has taken; `None`: there is none.
    fn received(&self) -> Option<u64> {
        let read = || fs::read_to_string("/proc/thread-self/net/dev");
        let devices = self.host.run(read).ok()?.ok()?;
        let name = format!("{LINK}:");
        let line = devices.lines().map(str::trim_start);
        let line = line.into_iter().find_map(|it| it.strip_prefix(&name))?;
        line.split_whitespace().nth(1)?.parse().ok()
    }
}

/// What [`Site::open_connections`] has opened: both ends, so that nothing is refused.
#[derive(Debug)]
pub struct Opened {
    _tcp: [TcpStream; 2],
    _udp: [UdpSocket; 2],
}

impl Site {
    /// Opens a TCP connection from the host to the world, whose address no database knows, and sends a datagram
    /// there.
    pub fn open_connections(&self) -> Result<Opened> {
        const LIMIT: Duration = Duration::from_secs(10);
        let failed = |op: &'static str| move |source| Error::os(op, source);
        let world = SocketAddr::from(([192, 0, 2, 2], 0));
        let listener = self
            .world
            .run(|| TcpListener::bind(world))?
            .map_err(failed("listen in the world"))?;
        let service = self
            .world
            .run(|| UdpSocket::bind(world))?
            .map_err(failed("bind in the world"))?;
        let op = "read the port of a socket";
        let tcp_address = listener.local_addr().map_err(failed(op))?;
        let udp_address = service.local_addr().map_err(failed(op))?;
        let client = self
            .host
            .run(|| TcpStream::connect_timeout(&tcp_address, LIMIT))?
            .map_err(failed("connect to the world"))?;
        let (server, _) = listener
            .accept()
            .map_err(failed("accept the host's connection"))?;
        let asker = self
            .host
            .run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)))?
            .map_err(failed("bind on the host"))?;
        asker
            .send_to(b"?", udp_address)
            .map_err(failed("send a datagram to the world"))?;
        Ok(Opened {
            _tcp: [client, server],
            _udp: [asker, service],
        })
    }
}

/// How a command ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ended {
    /// -1 after a signal.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// Runs `command` to its end.
pub fn ended(command: &mut Command) -> Ended {
    command.output().expect("the command starts").into()
}

/// Runs `command` with `input` to its end; one that does not want all of it may close the pipe.
pub fn fed(command: &mut Command, input: &str) -> Ended {
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let started = piped.stderr(Stdio::piped()).spawn();
    let mut child = started.expect("the command starts");
    if let Some(mut stdin) = child.stdin.take() {
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output();
    output.expect("the command can be waited for").into()
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Cerco {
    /// Runs `cerco ARGS` on a terminal of its own (`script` makes one), where nobody came by SSH, and types
    /// `answer`. What the terminal shows.
    pub fn on_a_terminal(&self, netns: &NetNs, args: &str, answer: &str) -> String {
        let line = format!(
            "{} {args} -c {}",
            cerco_binary().unwrap().display(),
            self.config_path().display()
        );
        let mut child = netns
            .command("script")
            .args(["-qec", &line, "/dev/null"])
            .env("SSH_CONNECTION", "")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        writeln!(child.stdin.take().unwrap(), "{answer}").unwrap();
        let output = child.wait_with_output().unwrap();
        String::from_utf8_lossy(&output.stdout).replace('\r', "")
    }

    /// Runs `cerco ARGS` to its end, outside of any SSH session.
    pub fn try_cli(&self, args: &[&str]) -> Ended {
        ended(self.cli_command(args).env("SSH_CONNECTION", ""))
    }

    /// `cerco ARGS --json`, which must succeed.
    ///
    /// # Panics
    /// When it fails, or prints anything but one JSON object with `schema` 1.
    pub fn json(&self, args: &[&str]) -> serde_json::Value {
        let ended = self.try_cli(&[args, &["--json"]].concat());
        assert_eq!(ended.code, 0, "{args:?}: {ended:?}");
        parse(&ended.stdout)
    }

    /// Packets of one line of `status`, as `("country_denied", "drop")`.
    pub fn packets(&self, reason: &str, verdict: &str) -> u64 {
        packets(&self.json(&["status"]), reason, verdict)
    }
}

/// A JSON object of schema 1.
///
/// # Panics
/// When `text` is anything else.
pub fn parse(text: &str) -> serde_json::Value {
    let value: serde_json::Value =
        serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert_eq!(value["schema"], 1, "{text}");
    value
}

/// Packets of one line in the JSON of `status`.
///
/// # Panics
/// When there is no such line.
pub fn packets(status: &serde_json::Value, reason: &str, verdict: &str) -> u64 {
    status["totals"]
        .as_array()
        .and_then(|totals| {
            totals
                .iter()
                .find(|line| line["reason"] == reason && line["verdict"] == verdict)
        })
        .and_then(|line| line["packets"].as_u64())
        .unwrap_or_else(|| panic!("no {reason}/{verdict} in {status}"))
}
