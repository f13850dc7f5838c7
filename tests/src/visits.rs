//! Visitors of a [`Site`] who stay: TCP connections from addresses of a country.

use crate::{
    site::{ABROAD, LINK, MACAU, Site},
    talk::Conversation,
    veth::fix_neighbour,
};
use std::net::{IpAddr, SocketAddr, TcpListener};

/// Hides the machine's own SSH server and whoever is logged in to it; `anna` is logged in from [`MACAU`] over
/// IPv6. For [`crate::daemon::Cerco::start_under`].
pub const STRANGE_HOST: [&str; 5] = [
    "unshare",
    "--mount",
    "sh",
    "-ec",
    "if [ -d /etc/ssh ]; then mount -t tmpfs none /etc/ssh; fi\n\
     mount -t tmpfs none /run\nmkdir -p /run/systemd/sessions\n\
     printf 'UID=1\\nUSER=anna\\nSTATE=active\\nREMOTE=1\\nREMOTE_HOST=2001:db8:1::7\\n' \
     > /run/systemd/sessions/7\nexec \"$0\" \"$@\"",
];

/// Gives [`Site::world`] the addresses of both countries, which the host then reaches.
///
/// # Panics
/// When the kernel does not do it.
pub fn settle(site: &Site) {
    for address in MACAU.iter().chain(&ABROAD) {
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
}

/// The address of the host in the family of `source`.
pub fn host_for(source: &str, port: u16) -> (IpAddr, SocketAddr) {
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
    _near_end: std::net::TcpStream,
}

/// Connects from `source` to a listener on `port` of the host.
///
/// # Panics
/// When the connection does not stand within some seconds.
pub fn visit(site: &Site, source: &str, port: u16) -> Visit {
    let (source, target) = host_for(source, port);
    let listener = site
        .host
        .run(|| TcpListener::bind(target))
        .unwrap()
        .unwrap();
    let far_end = Conversation::open(&site.world, source, target).unwrap();
    let (near_end, _) = listener.accept().unwrap();
    Visit {
        _listener: listener,
        _far_end: far_end,
        _near_end: near_end,
    }
}
