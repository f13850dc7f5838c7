//! Visitors of a [`Site`] who stay: TCP connections from addresses of a country.

use crate::{
    daemon::Cerco,
    netns::NetNs,
    poll,
    site::{ABROAD, LINK, MACAU, Site},
    talk::Conversation,
    veth::fix_neighbour,
};
use std::{
    io,
    net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

/// Until a port is free whose listener was dropped.
const FREED: Duration = Duration::from_secs(5);

/// A daemon on a host of its own: the machine's SSH server and whoever is logged in to it are hidden. `logins`:
/// users, and from where they are logged in, as logind knows; `None`: there is no logind.
///
/// # Panics
/// When it does not start.
pub fn start_hidden(site: &Site, config: &str, logins: Option<&[(&str, &str)]>) -> Cerco {
    let mut script = "if [ -d /etc/ssh ]; then mount -t tmpfs none /etc/ssh; fi\n\
                      mount -t tmpfs none /run\n"
        .to_owned();
    if let Some(logins) = logins {
        script += "mkdir -p /run/systemd/sessions /run/systemd/units\n\
                   ln -s 0 /run/systemd/units/invocation:systemd-logind.service\n\
                   mount -t tmpfs none /etc/pam.d\n\
                   echo session optional pam_systemd.so > /etc/pam.d/sshd\n";
        for (number, (user, address)) in logins.iter().enumerate() {
            let lines = format!("USER={user}\\nSTATE=active\\nREMOTE=1\\nREMOTE_HOST={address}\\n");
            script += &format!("printf '{lines}' > /run/systemd/sessions/{number}\n");
            // logind holds the other end for as long as the session lasts.
            script += &format!("mkfifo -m 600 /run/systemd/sessions/{number}.ref\n");
            script += &format!("exec {}<>/run/systemd/sessions/{number}.ref\n", 3 + number);
        }
    }
    script += "exec \"$0\" \"$@\"";
    let wrapper = ["unshare", "--mount", "sh", "-ec", &script];
    Cerco::start_under(&site.host, config, &wrapper).unwrap()
}

/// Gives [`Site::world`] the addresses of both countries, which the host then reaches.
///
/// # Panics
/// When the kernel does not do it.
pub fn settle(site: &Site) {
    for address in MACAU.iter().chain(&ABROAD) {
        settle_at(site, address);
    }
}

/// As [`settle`], with one more address.
///
/// # Panics
/// When the kernel does not do it.
pub fn settle_at(site: &Site, address: &str) {
    let (family, len, nodad) = match address.contains(':') {
        true => ("-6 ", 128, "nodad"),
        false => ("", 32, ""),
    };
    site.world
        .ip(&format!("address add {address}/{len} dev {LINK} {nodad}"))
        .unwrap();
    site.host
        .ip(&format!("{family}route add {address}/{len} dev {LINK}"))
        .unwrap();
    fix_neighbour(&site.host, LINK, address, site.veth.a_mac).unwrap();
}

/// Connects from `source` to a port of the host on which somebody listens already.
///
/// # Panics
/// When the connection does not stand within some seconds.
pub fn connect_to(site: &Site, source: &str, port: u16) -> Conversation {
    let (source, target) = host_for(source, port);
    Conversation::open(&site.world, source, target).unwrap()
}

/// The address of the host in the family of `source`.
fn host_for(source: &str, port: u16) -> (IpAddr, SocketAddr) {
    let source: IpAddr = source.parse().expect("a test writes valid addresses");
    let host: IpAddr = match source {
        IpAddr::V4(_) => [192, 0, 2, 1].into(),
        IpAddr::V6(_) => [0x2001, 0xdb8, 0, 0, 0, 0, 0, 1].into(),
    };
    (source, SocketAddr::new(host, port))
}

/// A connection and the listener that took it; both stay open.
pub struct Visit {
    _listener: TcpListener,
    _far_end: Conversation,
    near_end: TcpStream,
}

impl Drop for Visit {
    fn drop(&mut self) {
        // A child that another test starts has this process's sockets open until its exec.
        let _ = self.near_end.shutdown(Shutdown::Both);
    }
}

/// Connects from `source` to a listener on `port` of the host.
///
/// # Panics
/// When the connection does not stand within some seconds.
pub fn visit(site: &Site, source: &str, port: u16) -> Visit {
    let (source, target) = host_for(source, port);
    let listener = listen(&site.host, target);
    let far_end = Conversation::open(&site.world, source, target).unwrap();
    let (near_end, _) = listener.accept().unwrap();
    Visit {
        _listener: listener,
        _far_end: far_end,
        near_end,
    }
}

/// Listens where another listener may have been dropped a moment ago.
///
/// # Panics
/// When the address stays taken.
pub fn listen(netns: &NetNs, address: SocketAddr) -> TcpListener {
    // A child that another test starts has this process's sockets open until its exec.
    poll::until(&format!("listen at {address}"), FREED, || {
        match netns.run(|| TcpListener::bind(address)).unwrap() {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => None,
            bound => Some(bound.unwrap()),
        }
    })
    .unwrap()
}
