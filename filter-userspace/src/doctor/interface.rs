//! An interface that the gate stands on, or is to: what it is, what its driver does, who else is there.

use super::{
    commands::Commands,
    finding::Finding,
    gate::Standing,
    replies::{self, Trackers, Tracking},
};
use crate::kernel::{self, AttachPreference, Channels, Ethtool, Link, TcProgram, XdpFeatures};

/// ARPHRD_ETHER and ARPHRD_LOOPBACK of linux/if_arp.h; the loopback device has Ethernet headers.
const WITH_ETHERNET_HEADERS: [u16; 2] = [1, 772];
/// What fits into one page beside the headroom of XDP and the kernel's own part, in most drivers.
const LARGEST_MTU_WITHOUT_FRAGS: u32 = 3500;

/// Drivers with native XDP in Linux 6.1; from 6.3 on the kernel is asked.
const NATIVE_DRIVERS: [&str; 40] = [
    "atlantic",
    "bnxt_en",
    "bonding",
    "cpsw",
    "cpsw-switch",
    "dpaa2-eth",
    "ena",
    "fsl_dpa",
    "fsl_dpaa2_eth",
    "fsl_enetc",
    "fsl_enetc_vf",
    "hv_netvsc",
    "i40e",
    "ice",
    "igb",
    "igc",
    "ixgbe",
    "ixgbevf",
    "mana",
    "mlx4_en",
    "mlx5_core",
    "mvneta",
    "mvpp2",
    "netsec",
    "nfp",
    "nicvf",
    "qede",
    "rvu_nicpf",
    "rvu_nicvf",
    "sfc",
    "sfc_ef100",
    "sfc_siena",
    "st_gmac",
    "stmmac",
    "thunder-nicvf",
    "tun",
    "veth",
    "vif",
    "virtio_net",
    "xen_netfront",
];

pub struct Interface {
    /// As the config has it.
    pub name: String,
    pub link: Link,
    /// Name and kind of what it is a member of.
    pub master: Option<(String, String)>,
    pub driver: Option<String>,
    /// `None`: the kernel cannot say.
    pub xdp: Option<XdpFeatures>,
    /// The features of the driver that are on.
    pub features: Option<Vec<String>>,
    /// `None`: the driver has one queue, and does not count it.
    pub channels: Option<Channels>,
    pub cpus: u32,
    /// Those of others.
    pub tc_programs: Vec<TcProgram>,
    /// Why those of TCX are not among them.
    pub tcx_fault: Option<String>,
    /// The gate's own programs of traffic control.
    pub tracking: Tracking,
    pub standing: Standing,
    pub attach: AttachPreference,
    /// Why the daemon did not get native mode.
    pub fallback_reason: Option<String>,
}

/// What the driver and the kernel say about `link`.
pub struct Described {
    pub driver: Option<String>,
    pub xdp: Option<XdpFeatures>,
    pub features: Option<Vec<String>>,
    pub channels: Option<Channels>,
    /// Those of others.
    pub tc_programs: Vec<TcProgram>,
    pub tcx_fault: Option<String>,
    pub tracking: Tracking,
}

impl Described {
    pub fn gather(link: &Link, trackers: &Trackers<'_>) -> Self {
        let ethtool = Ethtool::open().ok();
        let ethtool = ethtool.as_ref();
        let mut tc_programs = kernel::tc_programs(link.index).unwrap_or_default();
        let (knows_tcx, tcx_fault) = match kernel::tcx_programs(&link.name) {
            Ok(programs) => {
                let knows_tcx = programs.is_some();
                tc_programs.extend(programs.into_iter().flatten());
                (Some(knows_tcx), None)
            }
            Err(error) => (None, Some(error.to_string())),
        };
        let tracking = replies::take_own(link, trackers, knows_tcx, &mut tc_programs);
        Self {
            driver: ethtool.and_then(|it| it.driver(&link.name).ok()),
            xdp: kernel::xdp_features(link.index).ok().flatten(),
            features: ethtool.and_then(|it| it.features(&link.name).ok()),
            channels: ethtool.and_then(|it| it.channels(&link.name).ok()),
            tc_programs,
            tcx_fault,
            tracking,
        }
    }
}

impl Interface {
    pub fn judge(&self, commands: &Commands) -> Vec<Finding> {
        let mut findings = vec![
            self.link_layer(commands),
            self.state(),
            self.mode(commands),
            self.mtu(commands),
        ];
        findings.extend(self.rename(commands));
        findings.extend(self.offloads());
        findings.push(self.queues());
        findings.push(self.vlan_tags());
        findings.extend(self.membership(commands));
        findings.extend(self.tc_programs.iter().map(|it| self.tc_program(it)));
        findings.extend(self.tcx_fault.as_ref().map(|fault| {
            let name = self.link.name.as_str();
            Finding::unknown(
                "tc_programs",
                format!("The TCX programs on {name} were not listed: {fault}."),
            )
            .mend(commands.as_root())
        }));
        findings
            .into_iter()
            .map(|finding| finding.on(&self.link.name))
            .collect()
    }

    fn driver_name(&self) -> &str {
        self.driver.as_deref().unwrap_or("of unknown name")
    }

    /// Whether the driver runs programs itself; `None` when nobody knows.
    fn is_native(&self) -> Option<bool> {
        let listed = || {
            self.driver
                .as_deref()
                .map(|it| NATIVE_DRIVERS.contains(&it))
        };
        self.xdp.map(|it| it.is_native).or_else(listed)
    }

    fn link_layer(&self, commands: &Commands) -> Finding {
        const CHECK: &str = "link_layer";
        let name = self.link.name.as_str();
        if WITH_ETHERNET_HEADERS.contains(&self.link.hardware_type) {
            return Finding::ok(CHECK, format!("{name} carries Ethernet frames."));
        }
        Finding::fault(
            CHECK,
            format!(
                "Packets on {name} have no Ethernet header, which the gate needs to read them: \
                 nothing that it filters there can be relied on."
            ),
        )
        .mend(commands.edit_and_restart("interfaces = the one below the tunnel"))
    }

    /// No interface bears the name of the config, and the gate has stayed on the one that did.
    pub fn is_renamed(&self) -> bool {
        !self.link.bears(&self.name)
    }

    fn rename(&self, commands: &Commands) -> Option<Finding> {
        let (name, now) = (self.name.as_str(), self.link.name.as_str());
        self.is_renamed().then(|| {
            Finding::warning(
                "name",
                format!(
                    "{name} is called {now} now, and the gate went along: it leaves {now} when another \
                     interface is called {name}."
                ),
            )
            .mend(commands.edit_and_restart(&format!("interfaces = {now} in the place of {name}")))
        })
    }

    fn state(&self) -> Finding {
        let name = self.link.name.as_str();
        match self.link.is_up {
            true => Finding::ok("link", format!("{name} is up.")),
            false => Finding::note("link", format!("{name} is down: no packet comes in."))
                .mend(format!("ip link set dev {name} up")),
        }
    }

    fn mode(&self, commands: &Commands) -> Finding {
        const CHECK: &str = "xdp_mode";
        let name = self.link.name.as_str();
        let driver = self.driver_name();
        let says_generic = commands.edit_and_restart("attach = \"generic\", if it is meant");
        match (&self.standing, self.attach, self.is_native()) {
            (Standing::Native, ..) => {
                Finding::ok(
                CHECK,
                format!("The driver of {name}, {driver}, runs the gate itself (native)."),
            )
            }
            (Standing::Generic, AttachPreference::Generic, _) => Finding::ok(
                CHECK,
                format!("The gate runs on {name} in generic mode, as the config asks."),
            ),
            (Standing::Generic, _, Some(false)) => Finding::note(
                CHECK,
                format!(
                    "The driver of {name}, {driver}, has no native XDP: the gate runs in generic \
                     mode, where a packet costs more than twice as much."
                ),
            )
            .mend(says_generic),
            (Standing::Generic, ..) => {
                let because = self
                    .fallback_reason
                    .as_ref()
                    .map_or(String::new(), |reason| format!("; the reason then: {reason}"));
                Finding::warning(
                    CHECK,
                    format!(
                        "The gate runs on {name} in generic mode, where a packet costs more than \
                         twice as much, though its driver {driver} has native XDP{because}."
                    ),
                )
                .mend(format!(
                    "{} && systemctl restart cerco",
                    commands.cerco("detach --force")
                ))
            }
            (_, AttachPreference::Native, Some(false)) => Finding::fault(
                CHECK,
                format!(
                    "attach = \"native\" cannot work on {name}: its driver {driver} has no native \
                     XDP."
                ),
            )
            .mend(commands.edit_and_restart("attach = \"auto\"")),
            (_, AttachPreference::Auto, Some(false)) => Finding::note(
                CHECK,
                format!(
                    "The driver of {name}, {driver}, has no native XDP: the gate will run in generic \
                     mode, where a packet costs more than twice as much."
                ),
            )
            .mend(says_generic),
            (_, _, Some(_)) => Finding::ok(
                CHECK,
                format!("The driver of {name}, {driver}, has native XDP."),
            ),
            (_, _, None) => Finding::unknown(
                CHECK,
                format!("Nothing says whether the driver of {name}, {driver}, has native XDP."),
            )
            .mend(format!("ethtool -i {name}")),
        }
    }

    fn mtu(&self, commands: &Commands) -> Finding {
        const CHECK: &str = "mtu";
        let name = self.link.name.as_str();
        let (mtu, driver) = (self.link.mtu, self.driver_name());
        let is_small = mtu <= LARGEST_MTU_WITHOUT_FRAGS;
        let has_frags = self.xdp.map(|it| it.has_frags);
        let asks_native = self.attach != AttachPreference::Generic;
        if is_small || self.standing == Standing::Native || !asks_native {
            return Finding::ok(CHECK, format!("The MTU of {name}, {mtu}, is no hindrance."));
        }
        if self.is_native() == Some(false) {
            return Finding::ok(
                CHECK,
                format!("The MTU of {name}, {mtu}, is none to generic mode."),
            );
        }
        match has_frags {
            Some(true) => Finding::ok(
                CHECK,
                format!("The driver of {name} gives XDP frames of MTU {mtu} in pieces."),
            ),
            Some(false) => Finding::warning(
                CHECK,
                format!(
                    "The driver of {name}, {driver}, refuses native XDP at an MTU of {mtu}: it gives \
                     no frames in pieces."
                ),
            )
            .mend(format!("ip link set dev {name} mtu 1500")),
            None => Finding::unknown(
                CHECK,
                format!(
                    "This kernel does not say whether the driver of {name}, {driver}, has native \
                     XDP at an MTU of {mtu}; above some {LARGEST_MTU_WITHOUT_FRAGS} many refuse it."
                ),
            )
            .mend(commands.cerco("status")),
        }
    }

    fn offloads(&self) -> Vec<Finding> {
        const CHECK: &str = "receive_offload";
        let name = self.link.name.as_str();
        let Some(features) = &self.features else {
            let words = format!("Nothing says whether {name} merges frames (LRO, GRO_HW).");
            let look = format!("ethtool -k {name}");
            return vec![Finding::unknown(CHECK, words).mend(look)];
        };
        let is_on = |name: &str| features.iter().any(|it| it == name);
        // virtio_net turns it off in the card for a native program, and shows it as on all the same
        // (virtnet_xdp_set() in drivers/net/virtio_net.c).
        let is_cleared =
            self.driver.as_deref() == Some("virtio_net") && self.standing != Standing::Generic;
        let merging: Vec<Finding> = [
            ("rx-lro", "lro", "LRO"),
            ("rx-gro-hw", "rx-gro-hw", "GRO_HW"),
        ]
        .into_iter()
        .filter(|(feature, _, _)| is_on(feature) && !is_cleared)
        .map(|(_, option, word)| {
            Finding::warning(
                CHECK,
                format!(
                    "{name} merges frames before the gate sees them ({word}): limits count too \
                         few packets, and many drivers refuse native XDP."
                ),
            )
            .mend(format!("ethtool -K {name} {option} off"))
        })
        .collect();
        match merging.is_empty() {
            true => vec![Finding::ok(
                CHECK,
                format!("{name} does not merge frames before the gate sees them."),
            )],
            false => merging,
        }
    }

    fn queues(&self) -> Finding {
        const CHECK: &str = "queues";
        let name = self.link.name.as_str();
        let Some(channels) = self.channels else {
            return Finding::ok(CHECK, format!("{name} has no queues that could be set."));
        };
        let wanted = self.cpus.min(channels.max_rx);
        if channels.rx >= wanted {
            return Finding::ok(
                CHECK,
                format!(
                    "{name} receives with {} of {wanted} queues that {} CPUs can use.",
                    channels.rx, self.cpus
                ),
            );
        }
        let option = match channels.are_combined {
            true => "combined",
            false => "rx",
        };
        Finding::note(
            CHECK,
            format!(
                "{name} receives with {} of {wanted} queues: only so many of {} CPUs can work at the \
                 gate in a flood.",
                channels.rx, self.cpus
            ),
        )
        .mend(format!("ethtool -L {name} {option} {wanted}"))
    }

    fn vlan_tags(&self) -> Finding {
        const CHECK: &str = "vlan_offload";
        let name = self.link.name.as_str();
        let is_on = |it: &Vec<String>| it.iter().any(|name| name == "rx-vlan-hw-parse");
        match self.features.as_ref().is_some_and(is_on) {
            true => Finding::ok(
                CHECK,
                format!(
                    "{name} may take the outer VLAN tag off before the gate sees a frame, which \
                     changes no decision."
                ),
            ),
            false => Finding::ok(
                CHECK,
                format!("The gate sees the VLAN tags of {name} as they come."),
            ),
        }
    }

    fn membership(&self, commands: &Commands) -> Option<Finding> {
        const CHECK: &str = "membership";
        let name = self.link.name.as_str();
        if self.link.kind.as_deref() == Some("bridge") {
            return Some(
                Finding::note(
                    CHECK,
                    format!(
                        "{name} is a bridge: a gate there is generic and sees only what is for this \
                         host; one on its ports sees everything."
                    ),
                )
                .mend(format!("ip -brief link show master {name}")),
            );
        }
        let (master, kind) = self.master.as_ref()?;
        Some(match kind.as_str() {
            "bond" | "team" => Finding::warning(
                CHECK,
                format!(
                    "{name} is a member of the {kind} {master}: what comes in by the other members \
                     goes past the gate."
                ),
            )
            .mend(commands.edit_and_restart(&format!("interfaces = [\"{master}\"]"))),
            "bridge" | "openvswitch" => Finding::note(
                CHECK,
                format!(
                    "{name} is a port of the bridge {master}: the gate filters also what goes through \
                     to the guests behind it."
                ),
            )
            .mend(
                commands.edit_and_reload("[protect] destinations = those of this host")
            ),
            _ => Finding::ok(CHECK, format!("{name} is a member of the {kind} {master}.")),
        })
    }

    fn tc_program(&self, program: &TcProgram) -> Finding {
        let interface = &self.link.name;
        let name = program_words(&program.name, program.id);
        let way = program.direction.word();
        let sees = match program.direction {
            kernel::Direction::Ingress => "sees only what the gate lets in",
            kernel::Direction::Egress => "sees what this host sends, which the gate does not",
        };
        Finding::note(
            "tc_programs",
            format!("{name} of traffic control is on {interface}, {way}: it {sees}."),
        )
        .mend(format!("tc filter show dev {interface} {way}"))
    }
}

/// The program `name` (number 7).
pub fn program_words(name: &str, id: Option<u32>) -> String {
    let name = match name {
        "" => "A program".to_owned(),
        name => format!("The program `{name}`"),
    };
    match id {
        Some(id) => format!("{name} (number {id})"),
        None => name,
    }
}

#[cfg(test)]
mod tests;
