use super::*;
use crate::kernel::Direction;

const NATIVE: XdpFeatures = XdpFeatures {
    is_native: true,
    has_frags: true,
};
const NONE: XdpFeatures = XdpFeatures {
    is_native: false,
    has_frags: false,
};

/// One of which nothing bad can be said.
fn healthy() -> Interface {
    Interface {
        name: "eth0".into(),
        link: Link {
            index: 2,
            name: "eth0".into(),
            hardware_type: 1,
            is_up: true,
            mtu: 1500,
            ..Link::default()
        },
        master: None,
        driver: Some("ixgbe".into()),
        xdp: Some(NATIVE),
        features: Some(vec!["rx-gro".into()]),
        channels: Some(Channels {
            rx: 8,
            max_rx: 64,
            are_combined: true,
        }),
        cpus: 8,
        tc_programs: Vec::new(),
        tcx_fault: None,
        tracking: Tracking::Unseen,
        standing: Standing::Native,
        attach: AttachPreference::Auto,
        fallback_reason: None,
    }
}

/// What is said of `interface` about `check`.
fn said(interface: &Interface, check: &str) -> Finding {
    let findings = interface.judge(&Commands::new(None));
    findings
        .into_iter()
        .find(|finding| finding.check == check)
        .unwrap()
}

fn ok(check: &'static str, sentence: &str) -> Finding {
    Finding::ok(check, sentence).on("eth0")
}

fn note(check: &'static str, sentence: &str, command: &str) -> Finding {
    Finding::note(check, sentence).mend(command).on("eth0")
}

fn warning(check: &'static str, sentence: &str, command: &str) -> Finding {
    Finding::warning(check, sentence).mend(command).on("eth0")
}

#[test]
fn healthy_interface_is_fine_in_every_respect() {
    assert_eq!(
        healthy().judge(&Commands::new(None)),
        [
            ok("link_layer", "eth0 carries Ethernet frames."),
            ok("link", "eth0 is up."),
            ok(
                "xdp_mode",
                "The driver of eth0, ixgbe, runs the gate itself (native)."
            ),
            ok("mtu", "The MTU of eth0, 1500, is no hindrance."),
            ok(
                "receive_offload",
                "eth0 does not merge frames before the gate sees them."
            ),
            ok(
                "queues",
                "eth0 receives with 8 of 8 queues that 8 CPUs can use."
            ),
            ok(
                "vlan_offload",
                "The gate sees the VLAN tags of eth0 as they come."
            ),
        ]
    );
}

#[test]
fn interface_without_ethernet_headers_is_a_fault() {
    let mut tunnel = healthy();
    tunnel.link.hardware_type = 0xfffe;
    assert_eq!(
        said(&tunnel, "link_layer"),
        Finding::fault(
            "link_layer",
            "Packets on eth0 have no Ethernet header, which the gate needs to read them: nothing \
             that it filters there can be relied on."
        )
        .mend("sensible-editor /etc/cerco/cerco.toml && systemctl restart cerco    # interfaces = the one below the tunnel")
        .on("eth0")
    );
    tunnel.link.hardware_type = 772;
    assert_eq!(
        said(&tunnel, "link_layer"),
        ok("link_layer", "eth0 carries Ethernet frames.")
    );
    tunnel.link.is_up = false;
    assert_eq!(
        said(&tunnel, "link"),
        note(
            "link",
            "eth0 is down: no packet comes in.",
            "ip link set dev eth0 up"
        )
    );
}

#[test]
fn generic_mode_is_warned_of_where_native_mode_is_possible() {
    let with = |standing, attach, xdp, driver: &str| {
        let interface = Interface {
            standing,
            attach,
            xdp,
            driver: Some(driver.into()),
            fallback_reason: Some("Invalid argument".into()),
            ..healthy()
        };
        said(&interface, "xdp_mode")
    };
    use AttachPreference::{Auto, Generic, Native};
    let avoidable = |driver: &str| {
        warning(
            "xdp_mode",
            &format!(
                "The gate runs on eth0 in generic mode, where a packet costs more than twice as \
                 much, though its driver {driver} has native XDP; the reason then: Invalid argument."
            ),
            "cerco detach --force && systemctl restart cerco",
        )
    };
    assert_eq!(
        with(Standing::Generic, Auto, Some(NATIVE), "ixgbe"),
        avoidable("ixgbe")
    );
    // Before Linux 6.3 the list of drivers says it.
    assert_eq!(
        with(Standing::Generic, Auto, None, "virtio_net"),
        avoidable("virtio_net")
    );
    assert_eq!(
        with(Standing::Generic, Generic, Some(NATIVE), "ixgbe"),
        ok(
            "xdp_mode",
            "The gate runs on eth0 in generic mode, as the config asks."
        )
    );
    let edit = "sensible-editor /etc/cerco/cerco.toml && systemctl restart cerco    # attach = \"generic\", if it is meant";
    let unavoidable = note(
        "xdp_mode",
        "The driver of eth0, e1000e, has no native XDP: the gate runs in generic mode, where a \
         packet costs more than twice as much.",
        edit,
    );
    assert_eq!(
        with(Standing::Generic, Auto, Some(NONE), "e1000e"),
        unavoidable
    );
    assert_eq!(with(Standing::Generic, Auto, None, "e1000e"), unavoidable);
    assert_eq!(
        with(Standing::Nothing, Auto, Some(NONE), "e1000e"),
        note(
            "xdp_mode",
            "The driver of eth0, e1000e, has no native XDP: the gate will run in generic mode, \
             where a packet costs more than twice as much.",
            edit
        )
    );
    assert_eq!(
        with(Standing::Nothing, Native, Some(NONE), "e1000e"),
        Finding::fault(
            "xdp_mode",
            "attach = \"native\" cannot work on eth0: its driver e1000e has no native XDP."
        )
        .mend("sensible-editor /etc/cerco/cerco.toml && systemctl restart cerco    # attach = \"auto\"")
        .on("eth0")
    );
    assert_eq!(
        with(Standing::Nothing, Auto, Some(NATIVE), "ixgbe"),
        ok("xdp_mode", "The driver of eth0, ixgbe, has native XDP.")
    );
    let nameless = Interface {
        standing: Standing::Nothing,
        driver: None,
        xdp: None,
        ..healthy()
    };
    assert_eq!(
        said(&nameless, "xdp_mode"),
        Finding::unknown(
            "xdp_mode",
            "Nothing says whether the driver of eth0, of unknown name, has native XDP."
        )
        .mend("ethtool -i eth0")
        .on("eth0")
    );
}

#[test]
fn large_mtu_matters_to_drivers_without_frags_only() {
    let with = |mtu, standing, attach, xdp| {
        let mut interface = Interface {
            standing,
            attach,
            xdp,
            ..healthy()
        };
        interface.link.mtu = mtu;
        said(&interface, "mtu")
    };
    use AttachPreference::{Auto, Generic};
    let without_frags = XdpFeatures {
        has_frags: false,
        ..NATIVE
    };
    let none = |mtu| ok("mtu", &format!("The MTU of eth0, {mtu}, is no hindrance."));
    assert_eq!(
        with(3500, Standing::Nothing, Auto, Some(without_frags)),
        none(3500)
    );
    assert_eq!(
        with(9000, Standing::Native, Auto, Some(without_frags)),
        none(9000)
    );
    assert_eq!(
        with(9000, Standing::Nothing, Generic, Some(without_frags)),
        none(9000)
    );
    assert_eq!(
        with(9000, Standing::Nothing, Auto, Some(NATIVE)),
        ok(
            "mtu",
            "The driver of eth0 gives XDP frames of MTU 9000 in pieces."
        )
    );
    assert_eq!(
        with(9000, Standing::Generic, Auto, Some(NONE)),
        ok("mtu", "The MTU of eth0, 9000, is none to generic mode.")
    );
    assert_eq!(
        with(3501, Standing::Generic, Auto, Some(without_frags)),
        warning(
            "mtu",
            "The driver of eth0, ixgbe, refuses native XDP at an MTU of 3501: it gives no frames \
             in pieces.",
            "ip link set dev eth0 mtu 1500"
        )
    );
    assert_eq!(
        with(9000, Standing::Nothing, Auto, None),
        Finding::unknown(
            "mtu",
            "This kernel does not say whether the driver of eth0, ixgbe, has native XDP at an MTU \
             of 9000; above some 3500 many refuse it."
        )
        .mend("cerco status")
        .on("eth0")
    );
}

#[test]
fn card_that_merges_frames_is_warned_of() {
    let merging = Interface {
        features: Some(vec!["rx-lro".into(), "rx-gro-hw".into()]),
        ..healthy()
    };
    let found = |word: &str, option: &str| {
        warning(
            "receive_offload",
            &format!(
                "eth0 merges frames before the gate sees them ({word}): limits count too few \
                 packets, and many drivers refuse native XDP."
            ),
            &format!("ethtool -K eth0 {option} off"),
        )
    };
    let findings: Vec<Finding> = merging
        .judge(&Commands::new(None))
        .into_iter()
        .filter(|finding| finding.check == "receive_offload")
        .collect();
    assert_eq!(
        findings,
        [found("LRO", "lro"), found("GRO_HW", "rx-gro-hw")]
    );
    let mut virtio = Interface {
        driver: Some("virtio_net".into()),
        features: Some(vec!["rx-gro-hw".into()]),
        ..healthy()
    };
    let fine = ok(
        "receive_offload",
        "eth0 does not merge frames before the gate sees them.",
    );
    assert_eq!(said(&virtio, "receive_offload"), fine);
    virtio.standing = Standing::Nothing;
    assert_eq!(said(&virtio, "receive_offload"), fine);
    virtio.standing = Standing::Generic;
    assert_eq!(
        said(&virtio, "receive_offload"),
        found("GRO_HW", "rx-gro-hw")
    );
    virtio.features = None;
    assert_eq!(
        said(&virtio, "receive_offload"),
        Finding::unknown(
            "receive_offload",
            "Nothing says whether eth0 merges frames (LRO, GRO_HW)."
        )
        .mend("ethtool -k eth0")
        .on("eth0")
    );
}

#[test]
fn fewer_queues_than_cpus_are_noted_where_there_could_be_more() {
    let with = |rx, max_rx, are_combined, cpus| {
        let channels = Some(Channels {
            rx,
            max_rx,
            are_combined,
        });
        let interface = Interface {
            channels,
            cpus,
            ..healthy()
        };
        said(&interface, "queues")
    };
    assert_eq!(
        with(2, 16, true, 8),
        note(
            "queues",
            "eth0 receives with 2 of 8 queues: only so many of 8 CPUs can work at the gate in a \
             flood.",
            "ethtool -L eth0 combined 8"
        )
    );
    assert_eq!(
        with(1, 4, false, 8).command.as_deref(),
        Some("ethtool -L eth0 rx 4")
    );
    assert_eq!(
        with(4, 4, true, 8),
        ok(
            "queues",
            "eth0 receives with 4 of 4 queues that 8 CPUs can use."
        )
    );
    let single = Interface {
        channels: None,
        ..healthy()
    };
    assert_eq!(
        said(&single, "queues"),
        ok("queues", "eth0 has no queues that could be set.")
    );
}

#[test]
fn card_may_take_vlan_tags_off() {
    let stripping = Interface {
        features: Some(vec!["rx-vlan-hw-parse".into()]),
        ..healthy()
    };
    assert_eq!(
        said(&stripping, "vlan_offload"),
        ok(
            "vlan_offload",
            "eth0 may take the outer VLAN tag off before the gate sees a frame, which changes no \
             decision."
        )
    );
}

#[test]
fn member_of_a_bond_is_passed_by_and_a_port_of_a_bridge_filters_for_guests() {
    let member = |master: &str, kind: &str| Interface {
        master: Some((master.into(), kind.into())),
        ..healthy()
    };
    assert_eq!(
        said(&member("bond0", "bond"), "membership"),
        warning(
            "membership",
            "eth0 is a member of the bond bond0: what comes in by the other members goes past the \
             gate.",
            "sensible-editor /etc/cerco/cerco.toml && systemctl restart cerco    # interfaces = [\"bond0\"]"
        )
    );
    assert_eq!(
        said(&member("br0", "bridge"), "membership"),
        note(
            "membership",
            "eth0 is a port of the bridge br0: the gate filters also what goes through to the \
             guests behind it.",
            "sensible-editor /etc/cerco/cerco.toml && cerco reload    # [protect] destinations = those of this host"
        )
    );
    assert_eq!(
        said(&member("blue", "vrf"), "membership"),
        ok("membership", "eth0 is a member of the vrf blue.")
    );
    let mut bridge = healthy();
    bridge.link.kind = Some("bridge".into());
    assert_eq!(
        said(&bridge, "membership"),
        note(
            "membership",
            "eth0 is a bridge: a gate there is generic and sees only what is for this host; one on \
             its ports sees everything.",
            "ip -brief link show master eth0"
        )
    );
}

#[test]
fn programs_of_traffic_control_are_named() {
    let program = |direction, name: &str, id| TcProgram {
        direction,
        name: name.into(),
        id,
        is_tcx: false,
    };
    let interface = Interface {
        tc_programs: vec![
            program(Direction::Ingress, "from_netdev", Some(31)),
            program(Direction::Egress, "", None),
        ],
        ..healthy()
    };
    let findings: Vec<Finding> = interface
        .judge(&Commands::new(None))
        .into_iter()
        .filter(|finding| finding.check == "tc_programs")
        .collect();
    assert_eq!(
        findings,
        [
            note(
                "tc_programs",
                "The program `from_netdev` (number 31) of traffic control is on eth0, ingress: it \
                 sees only what the gate lets in.",
                "tc filter show dev eth0 ingress"
            ),
            note(
                "tc_programs",
                "A program of traffic control is on eth0, egress: it sees what this host sends, \
                 which the gate does not.",
                "tc filter show dev eth0 egress"
            ),
        ]
    );
    let as_user = Interface {
        tcx_fault: Some("operation not permitted".into()),
        ..healthy()
    };
    assert_eq!(
        said(&as_user, "tc_programs"),
        Finding::unknown(
            "tc_programs",
            "The TCX programs on eth0 were not listed: operation not permitted."
        )
        .mend("sudo cerco doctor")
        .on("eth0")
    );
}
