//! Rows of the table "What happens when something is wrong" in ARCHITECTURE.md that no other test is about.

use aya::{
    EbpfLoader,
    maps::{HashMap, MapData, PerCpuHashMap},
    programs::{TestRun as _, TestRunOptions, Xdp},
};
use filter_common::abi::{Control, Counters, MAX_BANS};
use filter_userspace::{
    compile::compile,
    geo,
    kernel::{Gate, GateOptions, KernelError, Mode, OBJECT, Replies, TableMap},
};
use integration_tests::{
    daemon::{Cerco, ensure_bpffs},
    policies,
    site::{ABROAD, LINK, Site},
    tap::{Count, Tap},
};
use ipnetwork::IpNetwork;
use std::{
    collections::BTreeSet,
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    time::Duration,
};

/// A directory on the BPF file system.
struct Pins(PathBuf);

impl Pins {
    fn new(name: &str) -> Self {
        ensure_bpffs().unwrap();
        let path = format!("/sys/fs/bpf/cerco-test-{name}-{}", std::process::id());
        fs::create_dir(&path).unwrap();
        Self(path.into())
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What the program does with a frame that is malformed, which needs no policy.
fn verdict(pins: &Path, missing: Option<(&'static str, PathBuf)>) -> u32 {
    let table = TableMap::create(&pins.join("loading"), 8_192).unwrap();
    let mut loader = EbpfLoader::new();
    table.give_to(&mut loader);
    if let Some((name, path)) = missing {
        loader.map_pin_path(name, path);
    }
    let mut ebpf = loader.load(OBJECT).unwrap();
    let program: &mut Xdp = ebpf.program_mut("cerco").unwrap().try_into().unwrap();
    program.load().unwrap();
    // Ethernet, an IPv4 header of 5 words cut off behind the first.
    let mut frame = [0; 18];
    frame[12..16].copy_from_slice(&[0x08, 0x00, 0x45, 0x00]);
    let options = TestRunOptions {
        data_in: Some(&frame),
        ..TestRunOptions::default()
    };
    program.test_run(options).unwrap().return_value
}

/// They cannot be missing: so hash maps without an entry stand in their places.
#[test]
fn frame_passes_where_a_map_is_missing_that_always_is_there() {
    const XDP_DROP: u32 = 1;
    const XDP_PASS: u32 = 2;
    let pins = Pins::new("missing");
    let at = |name| pins.0.join(name);
    let control: HashMap<MapData, u32, Control> = HashMap::create(1, 0).unwrap();
    control.pin(at("CONTROL")).unwrap();
    let counters: PerCpuHashMap<MapData, u32, Counters> = PerCpuHashMap::create(1, 0).unwrap();
    counters.pin(at("COUNTERS")).unwrap();
    assert_eq!(verdict(&pins.0, None), XDP_DROP, "all are there");
    for name in ["CONTROL", "COUNTERS"] {
        let missing = Some((name, at(name)));
        assert_eq!(verdict(&pins.0, missing), XDP_PASS, "{name} is missing");
    }
}

#[test]
fn gate_stands_where_its_trackers_cannot() {
    let site = Site::new().unwrap();
    let mut cerco = Cerco::prepare(&site.host, &site.config()).unwrap();
    // In the place of a pin, so that the tracker cannot be pinned.
    let place = cerco.pins().join(format!("v1/tracking/in-{LINK}"));
    let _pins = Pins(cerco.pins().to_path_buf());
    fs::create_dir_all(place).unwrap();
    cerco.run().unwrap();
    let abroad: BTreeSet<_> = ABROAD.iter().map(|it| it.parse().unwrap()).collect();
    let mut bad = Tap::open(&site.host, LINK, &Count::From(&abroad)).unwrap();
    site.send(ABROAD[0], 10).unwrap();
    assert_eq!(cerco.packets("country_denied", "drop"), 10);
    assert_eq!(bad.total().unwrap(), 0);
    let faults = cerco.json(&["status"])["replies"]["faults"].clone();
    assert_eq!(faults.as_array().unwrap().len(), 1, "{faults}");
    assert_eq!(faults[0]["interface"], LINK, "{faults}");
    let reason = faults[0]["reason"].as_str().unwrap();
    assert!(reason.contains("tracking/in-eth0"), "{faults}");
    cerco.assert_logs(reason);
}

#[test]
fn ban_beyond_the_last_place_is_refused_with_a_message() {
    const LONG: Duration = Duration::from_secs(3_600);
    let pins = Pins::new("bans");
    let compiled = compile(&policies::deny_all(), &geo::builtin().unwrap()).unwrap();
    let options = GateOptions {
        interfaces: vec!["cerco-none".to_owned()],
        spare_slots: 0,
        pins: pins.0.clone(),
        mode: Mode::Observe,
        replies: Replies::default(),
    };
    let mut gate = Gate::load(&compiled, &options).unwrap();
    let host = |number: usize| {
        let address = Ipv4Addr::from_bits(0x0900_0000 + number as u32);
        IpNetwork::new(address.into(), 32).unwrap()
    };
    let hosts: Vec<IpNetwork> = (0..=MAX_BANS).map(host).collect();
    let refused = gate.ban_all(&hosts, LONG);
    assert!(
        matches!(
            refused,
            Err(KernelError::TooManyBans { capacity: MAX_BANS })
        ),
        "{refused:?}"
    );
    assert_eq!(gate.ban_count().unwrap(), 0, "none of too many");
    gate.ban_all(&hosts[..MAX_BANS], LONG).unwrap();
    assert_eq!(gate.ban_count().unwrap(), MAX_BANS);
    let refused = gate.ban(host(MAX_BANS), LONG).unwrap_err().to_string();
    assert_eq!(
        refused,
        "all 262144 bans are in use; `cerco bans` lists them"
    );
    // One that is banned already needs no place.
    gate.ban(host(0), LONG).unwrap();
    gate.unban(host(1)).unwrap();
    gate.ban(host(MAX_BANS), LONG).unwrap();
}
