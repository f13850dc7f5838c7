//! A cable between two namespaces.

use crate::{
    error::{Error, Result, check, run_to_end},
    netns::NetNs,
};
use std::{
    fmt,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    sync::atomic::{AtomicU32, Ordering},
};

/// A link-layer address.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Mac {
    /// A unicast, locally administered address that no other call in this process gives.
    pub fn unique() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let [a, b, c, d] = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        Self([0x02, 0xce, a, b, c, d])
    }
}

/// One end of a cable, as asked for.
#[derive(Clone, Debug)]
pub struct End<'a> {
    pub netns: &'a NetNs,
    /// At most 15 bytes, the kernel's limit for a link's name.
    pub name: &'a str,
    /// With prefix length: `203.0.113.10/24`, `2001:db8::1/64`.
    pub addresses: &'a [&'a str],
}

/// A pair of links, up; both disappear when this is dropped.
#[derive(Debug)]
pub struct Veth {
    a_netns: NetNs,
    a_name: String,
    /// Address of the first end.
    pub a_mac: Mac,
    /// Address of the second end.
    pub b_mac: Mac,
}

impl Veth {
    /// Connects two namespaces. `mtu`: bytes of the network layer, 1500 on an ordinary Ethernet.
    pub fn new(a: &End<'_>, b: &End<'_>, mtu: u32) -> Result<Self> {
        Self::with_queues(a, b, mtu, 1)
    }

    /// As [`Veth::new`], with several queues in each direction, as real NICs have them.
    ///
    /// A link with an XDP program behind it has room for 256 frames in each queue. Raw senders use
    /// the queue of their CPU's number (modulo the number of queues); all other frames are spread
    /// by a hash of their flow. A frame that finds its queue full is lost, see [`add_queue`].
    pub fn with_queues(a: &End<'_>, b: &End<'_>, mtu: u32, queues: u32) -> Result<Self> {
        let (a_mac, b_mac) = (Mac::unique(), Mac::unique());
        let queues = format!("numrxqueues {queues} numtxqueues {queues}");
        a.netns.ip(&format!(
            "link add {} address {a_mac} mtu {mtu} {queues} type veth peer name {} address {b_mac} mtu {mtu} {queues} netns {}",
            a.name, b.name, b.netns.path(),
        ))?;
        let veth = Self {
            a_netns: a.netns.clone(),
            a_name: a.name.to_owned(),
            a_mac,
            b_mac,
        };
        for end in [a, b] {
            for address in end.addresses {
                // nodad: the flag holds for this address even if the sysctl was changed back.
                let nodad = if address.contains(':') { "nodad" } else { "" };
                end.netns
                    .ip(&format!("address add {address} dev {} {nodad}", end.name))?;
            }
            end.netns.ip(&format!("link set {} up", end.name))?;
        }
        Ok(veth)
    }
}

impl Drop for Veth {
    fn drop(&mut self) {
        // A test may have deleted the link itself, and a panic may be under way: no error here is
        // worth a second one.
        let _ = self.a_netns.ip(&format!("link del {}", self.a_name));
    }
}

/// A neighbour entry that never expires, for tests in which ARP or ND would disturb the counts.
pub fn fix_neighbour(netns: &NetNs, link: &str, address: &str, mac: Mac) -> Result<()> {
    netns.ip(&format!(
        "neighbour replace {address} lladdr {mac} dev {link} nud permanent"
    ))?;
    Ok(())
}

/// Gives the sending side of a link a queue of `limit` frames, which a veth does not have by
/// itself.
///
/// From Linux 6.16 on, frames that find no room in the link then wait instead of being lost. Raw
/// senders that bypass the queue are not affected: they are told, and try again.
pub fn add_queue(netns: &NetNs, link: &str, limit: u32) -> Result<()> {
    run_to_end(
        netns
            .command("tc")
            .args(["qdisc", "replace", "dev", link, "root", "pfifo", "limit"])
            .arg(limit.to_string()),
        "add a queue to a link",
    )?;
    Ok(())
}

/// Turns generic receive offload of a link on or off.
///
/// On a veth without an XDP program, GRO is what makes its receiving end poll (NAPI), so frames
/// that another program redirects into it vanish while it is off.
pub fn set_gro(netns: &NetNs, link: &str, on: bool) -> Result<()> {
    const ETHTOOL_SGRO: u32 = 0x2c;
    #[repr(C)]
    struct EthtoolValue {
        cmd: u32,
        value: u32,
    }
    let mut value = EthtoolValue {
        cmd: ETHTOOL_SGRO,
        value: on.into(),
    };
    netns.run(|| {
        ethtool(link, (&raw mut value).cast(), || {
            format!("set gro of {link} to {on}")
        })
    })?
}

/// Names and values of a driver's own statistics, as `ethtool -S` shows them.
pub fn ethtool_stats(netns: &NetNs, link: &str) -> Result<Vec<(String, u64)>> {
    // include/uapi/linux/ethtool.h
    const ETHTOOL_GDRVINFO: u32 = 0x03;
    const ETHTOOL_GSTRINGS: u32 = 0x1b;
    const ETHTOOL_GSTATS: u32 = 0x1d;
    const ETH_SS_STATS: u32 = 1;
    const NAME_BYTES: usize = 32;
    /// `struct ethtool_drvinfo` has 196 bytes; here lies `n_stats`.
    const N_STATS: usize = 180 / 4;

    let op = || format!("read the statistics of {link}");
    netns.run(|| {
        let mut info = [0u32; 196 / 4];
        info[0] = ETHTOOL_GDRVINFO;
        ethtool(link, info.as_mut_ptr().cast(), op)?;
        let count = info[N_STATS];

        // Three words, and then the names; words keep the alignment.
        let mut names = vec![0u32; 3 + count as usize * NAME_BYTES / 4];
        names[..3].copy_from_slice(&[ETHTOOL_GSTRINGS, ETH_SS_STATS, count]);
        ethtool(link, names.as_mut_ptr().cast(), op)?;

        // Two words, which are one long word here, and then the values.
        let mut values = vec![0u64; 1 + count as usize];
        // SAFETY: two u32 lie in one u64, whatever the byte order.
        unsafe {
            values
                .as_mut_ptr()
                .cast::<[u32; 2]>()
                .write([ETHTOOL_GSTATS, count])
        };
        ethtool(link, values.as_mut_ptr().cast(), op)?;

        let text = names[3..].chunks_exact(NAME_BYTES / 4).map(|words| {
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
            let end = bytes.iter().position(|byte| *byte == 0);
            String::from_utf8_lossy(&bytes[..end.unwrap_or(NAME_BYTES)]).into_owned()
        });
        Ok(text.zip(values.into_iter().skip(1)).collect())
    })?
}

/// One SIOCETHTOOL request in the network namespace of the calling thread. `value`: the structure of
/// the request, large enough for all that the kernel writes.
fn ethtool(link: &str, value: *mut libc::c_char, op: impl Fn() -> String + Copy) -> Result<()> {
    // SAFETY: socket takes no pointers.
    let fd = check(
        unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) },
        op,
    )?;
    // SAFETY: the kernel has just given this descriptor to us alone.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: an all-zero ifreq is valid: integers, byte arrays and a null pointer.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    copy_link_name(&mut request.ifr_name, link)?;
    request.ifr_ifru.ifru_data = value;
    // SAFETY: `request` lives until the call returns, and so does what `value` points to.
    check(
        unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) },
        op,
    )?;
    Ok(())
}

fn copy_link_name(target: &mut [libc::c_char], link: &str) -> Result<()> {
    if link.len() >= target.len() {
        return Err(Error::os(
            format!("name a link {link}"),
            std::io::Error::from_raw_os_error(libc::ENAMETOOLONG),
        ));
    }
    for (to, from) in target.iter_mut().zip(link.bytes()) {
        *to = from as libc::c_char;
    }
    Ok(())
}
