//! Two namespaces with a link between them, for frames that a program makes.

use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::{Context as _, Result};
use filter_userspace::kernel;

use super::traffic::{self, Sources, Traffic};
use crate::{
    netns::NetNs,
    veth::{End, Veth, set_gro},
};

/// The link's name at both ends.
pub const LINK: &str = "eth0";
const MTU: u32 = 1_500;
const HOST_V4: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
const HOST_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x80, 0, 0, 0, 0, 0x10);
/// A port that nobody listens on.
const PORT: u16 = 9;

/// The sender's end and the receiver's, where the filter stands.
pub struct Cable {
    pub sender: NetNs,
    pub receiver: NetNs,
    sender_ifindex: u32,
    frame_v4: Vec<u8>,
    frame_v6: Vec<u8>,
    _veth: Veth,
}

impl Cable {
    pub fn lay() -> Result<Self> {
        let (sender, receiver) = (NetNs::new()?, NetNs::new()?);
        // Neither kernel may send anything by itself.
        for netns in [&sender, &receiver] {
            netns.sysctl("net/ipv6/conf/all/disable_ipv6", "0")?;
        }
        sender.sysctl("net/ipv6/conf/default/disable_ipv6", "1")?;
        let veth = Veth::new(
            &End {
                netns: &sender,
                name: LINK,
                addresses: &[],
            },
            &End {
                netns: &receiver,
                name: LINK,
                addresses: &[&format!("{HOST_V4}/32"), &format!("{HOST_V6}/128")],
            },
            MTU,
        )?;
        // Frames that a program redirects vanish at a receiving end that does not poll.
        set_gro(&receiver, LINK, true)?;
        let sender_ifindex = sender.run(|| kernel::interface_index(LINK))??;
        Ok(Self {
            sender_ifindex,
            frame_v4: traffic::frame_v4(veth.a_mac, veth.b_mac, HOST_V4, PORT),
            frame_v6: traffic::frame_v6(veth.a_mac, veth.b_mac, HOST_V6, PORT),
            sender,
            receiver,
            _veth: veth,
        })
    }

    /// What frames look like before their source is filled in.
    pub fn frame(&self, sources: Sources) -> &[u8] {
        match sources {
            Sources::TraceV4 | Sources::DrawnV4 => &self.frame_v4,
            Sources::TraceV6 => &self.frame_v6,
        }
    }

    /// Sends `count` frames and returns nanoseconds for each.
    pub fn send(&self, traffic: &mut Traffic, sources: Sources, count: u32) -> Result<f64> {
        traffic.set_link(self.sender_ifindex);
        self.sender
            .run(|| {
                let _pinned = super::cpu::pin()?;
                traffic.send(sources, self.frame(sources), count)
            })?
            .context("the sender failed")
    }
}
