//! Network interfaces as the kernel describes them: what they are, what they belong to, and which
//! programs stand on them. Only asks; needs no rights.

use std::{io, net::IpAddr};

use netlink_packet_core::NLM_F_DUMP;

use super::netlink::{Body, Netlink, attribute, attribute_list, attributes, text_of, u32_of};

/// One network interface.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Link {
    pub index: u32,
    pub name: String,
    /// Other names that it answers to (`ip link property add … altname`).
    pub alternative_names: Vec<String>,
    /// ARPHRD_* of linux/if_arp.h; 1 is Ethernet.
    pub hardware_type: u16,
    pub is_up: bool,
    /// Bytes of the largest packet, without the link-layer header.
    pub mtu: u32,
    /// The bridge, bond or other interface that this one is a member of.
    pub master: Option<u32>,
    /// The interface below: of a VLAN, for instance.
    pub lower: Option<u32>,
    /// `bridge`, `bond`, `veth`, `vlan`; hardware has none.
    pub kind: Option<String>,
    /// Numbers of the XDP programs by the way they are attached.
    pub xdp: XdpPrograms,
}

impl Link {
    /// Whether this is the interface that `name` means to the kernel.
    pub fn bears(&self, name: &str) -> bool {
        self.name == name || self.alternative_names.iter().any(|it| it == name)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct XdpPrograms {
    pub native: Option<u32>,
    pub generic: Option<u32>,
    /// In the network card itself.
    pub offloaded: Option<u32>,
}

/// What the driver says it can do with XDP (`enum netdev_xdp_act`, since Linux 6.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct XdpFeatures {
    /// Runs programs in native mode.
    pub is_native: bool,
    /// Gives programs frames in several buffers (`rx-sg`).
    pub has_frags: bool,
}

/// A program that traffic control runs (cls_bpf).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TcProgram {
    pub direction: Direction,
    pub name: String,
    pub id: Option<u32>,
    /// On a link of TCX (since Linux 6.6), not a filter of a qdisc.
    pub is_tcx: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    Ingress,
    Egress,
}

impl Direction {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }
}

// include/uapi/linux/rtnetlink.h, if_link.h, if.h
const NETLINK_ROUTE: isize = 0;
const RTM_GETLINK: u16 = 18;
const RTM_NEWLINK: u16 = 16;
const IFF_UP: u32 = 1;
const IFINFOMSG_BYTES: usize = 16;

/// All interfaces of the network namespace of the calling thread, as they were at one moment.
///
/// Names are to be looked up in this list and not by if_nametoindex(3): while the kernel renames an interface that
/// finds it under neither name, for milliseconds (dev_change_name() in net/core/dev.c), and a listing waits.
pub fn links() -> io::Result<Vec<Link>> {
    let body = Body {
        message_type: RTM_GETLINK,
        bytes: vec![0; IFINFOMSG_BYTES],
    };
    let answers = Netlink::open(NETLINK_ROUTE)?.ask(body, NLM_F_DUMP)?;
    Ok(answers
        .iter()
        .filter(|body| body.message_type == RTM_NEWLINK)
        .filter_map(|body| link(&body.bytes))
        .collect())
}

/// The numbers of the interfaces that bear one of `names`.
pub fn numbers_of<'a>(links: &'a [Link], names: &'a [String]) -> impl Iterator<Item = u32> + 'a {
    links
        .iter()
        .filter(|link| names.iter().any(|name| link.bears(name)))
        .map(|link| link.index)
}

/// The addresses of all interfaces, by the number of the interface.
pub fn addresses() -> io::Result<Vec<(u32, IpAddr)>> {
    const RTM_GETADDR: u16 = 22;
    const IFA_ADDRESS: u16 = 1;
    const IFA_LOCAL: u16 = 2;
    /// `struct ifaddrmsg`: family, prefix length, flags, scope, u32 interface.
    const IFADDRMSG_BYTES: usize = 8;
    let body = Body {
        message_type: RTM_GETADDR,
        bytes: vec![0; IFADDRMSG_BYTES],
    };
    let answers = Netlink::open(NETLINK_ROUTE)?.ask(body, NLM_F_DUMP)?;
    let address = |body: &Body| {
        let (header, rest) = body.bytes.split_at_checked(IFADDRMSG_BYTES)?;
        let all = attributes(rest);
        // On a link between two hosts the other one is that of the far end.
        let value = *all.get(&IFA_LOCAL).or_else(|| all.get(&IFA_ADDRESS))?;
        let address = match value.len() {
            4 => IpAddr::from(<[u8; 4]>::try_from(value).ok()?),
            _ => IpAddr::from(<[u8; 16]>::try_from(value).ok()?),
        };
        Some((u32_of(&header[4..])?, address))
    };
    Ok(answers.iter().filter_map(address).collect())
}

/// `struct ifinfomsg`: family, padding, u16 type, i32 index, u32 flags, u32 change.
fn link(bytes: &[u8]) -> Option<Link> {
    const IFLA_IFNAME: u16 = 3;
    const IFLA_MTU: u16 = 4;
    const IFLA_LINK: u16 = 5;
    const IFLA_MASTER: u16 = 10;
    const IFLA_LINKINFO: u16 = 18;
    const IFLA_INFO_KIND: u16 = 1;
    const IFLA_LINK_NETNSID: u16 = 37;
    const IFLA_XDP: u16 = 43;
    const IFLA_PROP_LIST: u16 = 52;
    const IFLA_ALT_IFNAME: u16 = 53;
    let (header, rest) = bytes.split_at_checked(IFINFOMSG_BYTES)?;
    let all = attributes(rest);
    let number = |kind| all.get(&kind).and_then(|value| u32_of(value));
    let kind = all
        .get(&IFLA_LINKINFO)
        .and_then(|info| attributes(info).get(&IFLA_INFO_KIND).map(|it| text_of(it)));
    // Without this number the index below is of this namespace; a veth's is of its peer's.
    let lower_is_here = !all.contains_key(&IFLA_LINK_NETNSID);
    Some(Link {
        index: u32_of(&header[4..])?,
        name: text_of(all.get(&IFLA_IFNAME)?),
        alternative_names: all
            .get(&IFLA_PROP_LIST)
            .map(|properties| {
                let of_kind = attribute_list(properties);
                let names = of_kind.filter(|(number, _)| *number == IFLA_ALT_IFNAME);
                names.map(|(_, value)| text_of(value)).collect()
            })
            .unwrap_or_default(),
        hardware_type: u16::from_ne_bytes([header[2], header[3]]),
        is_up: u32_of(&header[8..])? & IFF_UP != 0,
        mtu: number(IFLA_MTU)?,
        master: number(IFLA_MASTER),
        lower: number(IFLA_LINK).filter(|index| *index != 0 && lower_is_here),
        kind,
        xdp: all.get(&IFLA_XDP).map(|it| xdp(it)).unwrap_or_default(),
    })
}

fn xdp(nested: &[u8]) -> XdpPrograms {
    const IFLA_XDP_ATTACHED: u16 = 2;
    const IFLA_XDP_PROG_ID: u16 = 4;
    const IFLA_XDP_DRV_PROG_ID: u16 = 5;
    const IFLA_XDP_SKB_PROG_ID: u16 = 6;
    const IFLA_XDP_HW_PROG_ID: u16 = 7;
    const XDP_ATTACHED_DRV: u8 = 1;
    const XDP_ATTACHED_SKB: u8 = 2;
    const XDP_ATTACHED_HW: u8 = 3;
    let all = attributes(nested);
    let number = |kind| all.get(&kind).and_then(|value| u32_of(value));
    let only = number(IFLA_XDP_PROG_ID);
    let attached = all.get(&IFLA_XDP_ATTACHED).and_then(|it| it.first());
    let one = |kind, way| number(kind).or_else(|| only.filter(|_| attached == Some(&way)));
    XdpPrograms {
        native: one(IFLA_XDP_DRV_PROG_ID, XDP_ATTACHED_DRV),
        generic: one(IFLA_XDP_SKB_PROG_ID, XDP_ATTACHED_SKB),
        offloaded: one(IFLA_XDP_HW_PROG_ID, XDP_ATTACHED_HW),
    }
}

/// What the driver of an interface can do; `None` when the kernel cannot say (before 6.3).
pub fn xdp_features(index: u32) -> io::Result<Option<XdpFeatures>> {
    // include/uapi/linux/genetlink.h, netdev.h
    const NETLINK_GENERIC: isize = 16;
    const GENL_ID_CTRL: u16 = 16;
    const CTRL_CMD_GETFAMILY: u8 = 3;
    const CTRL_ATTR_FAMILY_ID: u16 = 1;
    const CTRL_ATTR_FAMILY_NAME: u16 = 2;
    const NETDEV_CMD_DEV_GET: u8 = 1;
    const NETDEV_A_DEV_IFINDEX: u16 = 1;
    const NETDEV_A_DEV_XDP_FEATURES: u16 = 3;
    const NETDEV_XDP_ACT_BASIC: u64 = 1;
    const NETDEV_XDP_ACT_RX_SG: u64 = 1 << 5;
    /// `struct genlmsghdr`: command, version, and two reserved bytes.
    const GENLMSGHDR_BYTES: usize = 4;
    let question = |message_type, command, attribute: Vec<u8>| Body {
        message_type,
        bytes: [&[command, 1, 0, 0], attribute.as_slice()].concat(),
    };
    let mut netlink = Netlink::open(NETLINK_GENERIC)?;
    let name = attribute(CTRL_ATTR_FAMILY_NAME, b"netdev\0");
    let family = match netlink.ask(question(GENL_ID_CTRL, CTRL_CMD_GETFAMILY, name), 0) {
        Ok(answers) => answers,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let first = |answers: &[Body], number: u16| {
        let bytes = answers.first()?.bytes.get(GENLMSGHDR_BYTES..)?;
        Some(attributes(bytes).get(&number)?.to_vec())
    };
    let Some(&[low, high]) = first(&family, CTRL_ATTR_FAMILY_ID).as_deref() else {
        return Ok(None);
    };
    let index = attribute(NETDEV_A_DEV_IFINDEX, &index.to_ne_bytes());
    let family = u16::from_ne_bytes([low, high]);
    let device = netlink.ask(question(family, NETDEV_CMD_DEV_GET, index), 0)?;
    let bits = first(&device, NETDEV_A_DEV_XDP_FEATURES)
        .and_then(|value| Some(u64::from_ne_bytes(value.get(..8)?.try_into().ok()?)));
    Ok(bits.map(|bits| XdpFeatures {
        is_native: bits & NETDEV_XDP_ACT_BASIC != 0,
        has_frags: bits & NETDEV_XDP_ACT_RX_SG != 0,
    }))
}

/// The programs of traffic control on both ways of an interface.
pub fn tc_programs(index: u32) -> io::Result<Vec<TcProgram>> {
    // include/uapi/linux/rtnetlink.h, pkt_sched.h, pkt_cls.h
    const RTM_GETTFILTER: u16 = 46;
    const TC_H_CLSACT_INGRESS: u32 = 0xffff_fff2;
    const TC_H_CLSACT_EGRESS: u32 = 0xffff_fff3;
    let mut programs = Vec::new();
    let mut netlink = Netlink::open(NETLINK_ROUTE)?;
    for (direction, parent) in [
        (Direction::Ingress, TC_H_CLSACT_INGRESS),
        (Direction::Egress, TC_H_CLSACT_EGRESS),
    ] {
        // `struct tcmsg`: family and padding, i32 interface, u32 handle, u32 parent, u32 info.
        let words = [0, index, 0, parent, 0];
        let body = Body {
            message_type: RTM_GETTFILTER,
            bytes: words.into_iter().flat_map(u32::to_ne_bytes).collect(),
        };
        let answers = netlink.ask(body, NLM_F_DUMP)?;
        let found = answers.iter().filter_map(|it| tc_program(&it.bytes));
        programs.extend(found.map(|(name, id)| TcProgram {
            direction,
            name,
            id,
            is_tcx: false,
        }));
    }
    Ok(programs)
}

/// Name and number of the program of a filter, when it has one.
fn tc_program(bytes: &[u8]) -> Option<(String, Option<u32>)> {
    const TCMSG_BYTES: usize = 20;
    const TCA_KIND: u16 = 1;
    const TCA_OPTIONS: u16 = 2;
    const TCA_BPF_OPS: u16 = 5;
    const TCA_BPF_NAME: u16 = 7;
    const TCA_BPF_ID: u16 = 11;
    let all = attributes(bytes.get(TCMSG_BYTES..)?);
    if text_of(all.get(&TCA_KIND)?) != "bpf" {
        return None;
    }
    // A chain lists itself without options before its filters.
    let options = attributes(all.get(&TCA_OPTIONS)?);
    let id = options.get(&TCA_BPF_ID).and_then(|value| u32_of(value));
    let name = options.get(&TCA_BPF_NAME).map(|it| text_of(it));
    // A classic program has neither name nor number.
    let is_program = id.is_some() || name.is_some() || options.contains_key(&TCA_BPF_OPS);
    is_program.then(|| (name.unwrap_or_default(), id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_described() {
        let all = links().unwrap();
        let lo = all.iter().find(|link| link.name == "lo").unwrap();
        let expected = Link {
            index: 1,
            name: "lo".into(),
            // ARPHRD_LOOPBACK
            hardware_type: 772,
            is_up: lo.is_up,
            mtu: lo.mtu,
            ..Link::default()
        };
        assert_eq!(lo, &expected);
        assert!(lo.mtu >= 1500, "{lo:?}");
        assert_eq!(tc_programs(lo.index).unwrap(), []);
        let no_xdp = XdpFeatures {
            is_native: false,
            has_frags: false,
        };
        // Before Linux 6.3 the kernel cannot say.
        if let Some(features) = xdp_features(lo.index).unwrap() {
            assert_eq!(features, no_xdp);
        }
        assert!(
            addresses()
                .unwrap()
                .iter()
                .all(|(index, _)| all.iter().any(|it| it.index == *index))
        );
    }

    #[test]
    fn programs_are_told_apart_by_the_way_they_are_attached() {
        let byte = |number, value| attribute(number, &[value]);
        let word = |number, value: u32| attribute(number, &value.to_ne_bytes());
        let cases = [
            (vec![byte(2, 0)], XdpPrograms::default()),
            (
                [byte(2, 1), word(4, 7)].to_vec(),
                XdpPrograms {
                    native: Some(7),
                    ..XdpPrograms::default()
                },
            ),
            (
                // XDP_ATTACHED_MULTI
                [byte(2, 4), word(6, 8), word(7, 9)].to_vec(),
                XdpPrograms {
                    native: None,
                    generic: Some(8),
                    offloaded: Some(9),
                },
            ),
        ];
        for (parts, expected) in cases {
            assert_eq!(xdp(&parts.concat()), expected);
        }
    }
}
