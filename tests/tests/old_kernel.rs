//! The oldest kernel that is promised, Linux 6.1 of Debian 12: all other tests run on the kernel of this host, whose
//! verifier follows more, and which has TCX.

use integration_tests::guest::{Recording, run_on_linux_6_1};
use serde_json::{Value, json};

/// The host has `gate0`, behind which is the namespace `abroad` with addresses of several countries: 8.8.8.8 and
/// 2001:4860:4860::8888 of the US, 202.175.3.3 of Macau, which alone is allowed. What `abroad` sends is judged, what
/// the host answers is not.
const SCRIPT: &str = r#"
abroad="/bin/ip netns exec abroad"
from() { $abroad ping -c "$1" -i 0.2 -W "$2" -I "$3" "$4"; }
start_daemon() {
    cerco run &
    daemon=$!
    within 60 cerco status
}
# within SECONDS COMMAND: until it succeeds.
within() {
    tries=$(($1 * 5))
    shift
    until "$@" > /tmp/within 2>&1; do
        tries=$((tries - 1))
        [ $tries -gt 0 ] || { echo "never: $*"; cat /tmp/within; return 1; }
        sleep 0.2
    done
}
/bin/ip link set lo up
/bin/ip netns add abroad
/bin/ip link add gate0 type veth peer name far netns abroad
/bin/ip link set gate0 up
/bin/ip addr add 192.0.2.1/24 dev gate0
/bin/ip addr add 2001:db8::1/64 dev gate0 nodad
/bin/ip route add default via 192.0.2.9
/bin/ip -6 route add default via 2001:db8::9
/bin/ip -n abroad link set far up
for address in 192.0.2.9/24 8.8.8.8/32 202.175.3.3/32; do /bin/ip -n abroad addr add $address dev far; done
for address in 2001:db8::9/64 2001:4860:4860::8888/128; do /bin/ip -n abroad addr add $address dev far nodad; done
/bin/ip link add link gate0 name gate0.5 type vlan id 5
/bin/ip link set gate0.5 up
/bin/ip addr add 203.0.113.1/24 dev gate0.5
/bin/ip -n abroad link add link far name far.5 type vlan id 5
/bin/ip -n abroad link set far.5 up
/bin/ip -n abroad addr add 203.0.113.9/24 dev far.5
cat > /etc/cerco/cerco.toml << END
interfaces = ["gate0"]
[policy]
default = "deny"
[policy.countries]
MO = "allow"
END

record kernel uname -r
start_daemon
record stands cerco status --json
record tracker_in /bin/tc -j filter show dev gate0 ingress
record tracker_out /bin/tc -j filter show dev gate0 egress

record observe_us from 2 5 8.8.8.8 192.0.2.1
record observe_us6 from 1 5 2001:4860:4860::8888 2001:db8::1
record observe_mo from 1 5 202.175.3.3 192.0.2.1
record observed cerco status --json

record enforce cerco enforce --yes
record enforce_us from 2 1 8.8.8.8 192.0.2.1
record enforce_us6 from 1 1 2001:4860:4860::8888 2001:db8::1
record enforce_mo from 1 5 202.175.3.3 192.0.2.1
record own_to_us ping -c 2 -i 0.2 -W 5 8.8.8.8
record enforced cerco status --json
record vlan_us from 3 1 8.8.8.8 203.0.113.1
record vlan cerco status --json
record events cerco events --json
record doctor cerco doctor --json

record trial cerco deny MO --confirm 8s
record trial_mo from 1 1 202.175.3.3 192.0.2.1
kill -9 $daemon
wait $daemon
record dead cerco status --json
record dead_us from 1 1 8.8.8.8 192.0.2.1
# In whole seconds, rounded down.
over() { cerco status --json | grep -q '"remaining_seconds": 0'; }
record over within 30 over
sleep 1
record undone_mo from 1 5 202.175.3.3 192.0.2.1
record undone_us from 1 1 8.8.8.8 192.0.2.1
record before cerco status --json

start_daemon
record restarted_us from 1 1 8.8.8.8 192.0.2.1
record restarted cerco status --json
kill $daemon
wait $daemon
record detach cerco detach --force
record detached_us from 1 5 8.8.8.8 192.0.2.1
record detached cerco status
record link /bin/ip -j link show gate0
record filters_in /bin/tc -j filter show dev gate0 ingress
record filters_out /bin/tc -j filter show dev gate0 egress
record pins find /sys/fs/bpf -mindepth 1
"#;

#[test]
fn gate_filters_counts_and_outlives_its_daemon_on_linux_6_1() {
    let guest = run_on_linux_6_1(SCRIPT).unwrap();
    // Shown when something below fails.
    println!("{}", guest.console());
    let kernel = &guest.of("kernel").stdout;
    assert!(kernel.starts_with("6.1."), "{kernel}");
    stands_native_and_observes(&guest);
    counts_what_it_would_drop_and_drops_it(&guest);
    shows_each_drop(&guest);
    lives_on_without_its_daemon(&guest);
    leaves_nothing(&guest);
}

fn stands_native_and_observes(guest: &Recording) {
    let status = guest.json("stands");
    assert_eq!(status["mode"], "observe");
    assert_eq!(
        status["interfaces"],
        json!([{"interface": "gate0", "attach_mode": "native"}])
    );
    assert_eq!(status["replies"]["enabled"], true);
    assert_eq!(status["replies"]["faults"], json!([]));
    // TCX came with Linux 6.6, so these are filters of the clsact qdisc.
    assert_eq!(filters(guest, "tracker_in"), ["cerco_in"]);
    assert_eq!(filters(guest, "tracker_out"), ["cerco_out"]);
    let doctor = guest.json("doctor");
    let bad: Vec<&Value> = findings(&doctor, &["fault", "unknown"]);
    assert_eq!(bad, Vec::<&Value>::new());
}

fn counts_what_it_would_drop_and_drops_it(guest: &Recording) {
    assert_ends(
        guest,
        &[("observe_us", 0), ("observe_us6", 0), ("observe_mo", 0)],
    );
    let observed = [
        ("allowed", "pass", 1, 98),
        // Two frames of 98 bytes and one of 118.
        ("country_denied", "would_drop", 3, 314),
    ];
    assert_counts(guest, "observed", &observed);
    assert_ends(
        guest,
        &[
            ("enforce", 0),
            ("enforce_us", 1),
            ("enforce_us6", 1),
            ("enforce_mo", 0),
        ],
    );
    assert_ends(guest, &[("own_to_us", 0)]);
    let would = ("country_denied", "would_drop", 3, 314);
    let passed = [
        ("allowed", "pass", 2, 196),
        ("reply", "pass", 2, 196),
        would,
    ];
    let drops = |packets, bytes| ("country_denied", "drop", packets, bytes);
    assert_counts(guest, "enforced", &[&passed[..], &[drops(3, 314)]].concat());
    assert_ends(guest, &[("vlan_us", 1)]);
    assert_counts(guest, "vlan", &[&passed[..], &[drops(6, 608)]].concat());
}

fn shows_each_drop(guest: &Recording) {
    let events = guest.json("events");
    let shown: Vec<Value> = events["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| {
            json!([
                it["verdict"],
                it["reason"],
                it["class"],
                it["source"],
                it["interface"]
            ])
        })
        .collect();
    let event = |verdict, source| json!([verdict, "country_denied", "US", source, "gate0"]);
    let (v4, v6) = ("8.8.8.8", "2001:4860:4860::8888");
    let observed = [v4, v4, v6].map(|source| event("would_drop", source));
    let enforced = [v4, v4, v6, v4, v4, v4].map(|source| event("drop", source));
    assert_eq!(shown, [&observed[..], &enforced].concat());
}

fn lives_on_without_its_daemon(guest: &Recording) {
    // Exit status 3: no daemon answers, and this was read from the kernel.
    assert_ends(
        guest,
        &[("trial", 0), ("trial_mo", 1), ("dead", 3), ("dead_us", 1)],
    );
    let dead = guest.json("dead");
    assert_eq!(
        (&dead["daemon"], &dead["mode"]),
        (&json!(false), &json!("enforce"))
    );
    assert!(dead["trial"].is_object(), "{}", dead["trial"]);
    assert_ends(guest, &[("over", 0), ("undone_mo", 0), ("undone_us", 1)]);
    let passed = [
        ("allowed", "pass", 3, 294),
        ("reply", "pass", 2, 196),
        ("country_denied", "would_drop", 3, 314),
    ];
    // Macau's on trial, and two of the US without a daemon.
    let before = [&passed[..], &[("country_denied", "drop", 9, 902)]].concat();
    assert_counts(guest, "before", &before);
    assert_ends(guest, &[("restarted_us", 1), ("restarted", 0)]);
    let restarted = [&passed[..], &[("country_denied", "drop", 10, 1000)]].concat();
    assert_counts(guest, "restarted", &restarted);
}

fn leaves_nothing(guest: &Recording) {
    assert_ends(guest, &[("detach", 0), ("detached_us", 0), ("detached", 3)]);
    let link = guest.json("link");
    assert_eq!(link[0]["ifname"], "gate0");
    assert_eq!(link[0].get("xdp"), None, "{link}");
    assert_eq!(filters(guest, "filters_in"), [""; 0]);
    assert_eq!(filters(guest, "filters_out"), [""; 0]);
    assert_eq!(guest.of("pins").stdout, "");
}

/// How commands ended: 0 of a ping is an answer, 1 none.
fn assert_ends(guest: &Recording, expected: &[(&str, i32)]) {
    let seen: Vec<(&str, i32)> = expected
        .iter()
        .map(|(name, _)| (*name, guest.of(name).code))
        .collect();
    assert_eq!(seen, expected);
}

/// Reason, verdict, packets, bytes. ARP and neighbour discovery are left out: the kernels send them when they like.
fn assert_counts(guest: &Recording, name: &str, expected: &[(&str, &str, u64, u64)]) {
    let status = guest.json(name);
    let totals = status["totals"].as_array().unwrap();
    let mut seen: Vec<(&str, &str, u64, u64)> = totals
        .iter()
        .map(|it| {
            let text = |key: &str| it[key].as_str().unwrap();
            let count = |key: &str| it[key].as_u64().unwrap();
            (
                text("reason"),
                text("verdict"),
                count("packets"),
                count("bytes"),
            )
        })
        .filter(|(reason, _, packets, _)| *packets > 0 && !["not_ip", "essential"].contains(reason))
        .collect();
    let mut expected = expected.to_vec();
    seen.sort();
    expected.sort();
    assert_eq!(seen, expected, "{name}");
}

/// The names of the BPF programs among the filters that tc lists.
fn filters(guest: &Recording, name: &str) -> Vec<String> {
    let listed = guest.json(name);
    let programs = listed.as_array().unwrap().iter();
    programs
        .filter_map(|it| it["options"]["bpf_name"].as_str().map(str::to_owned))
        .collect()
}

fn findings<'a>(doctor: &'a Value, severities: &[&str]) -> Vec<&'a Value> {
    let all = doctor["findings"].as_array().unwrap().iter();
    all.filter(|it| severities.contains(&it["severity"].as_str().unwrap()))
        .collect()
}
