//! Every bad config: what was written, and the exact words that the sysadmin gets to read.

use filter_common::country::CountryCode;

use super::*;
use crate::{
    dashboard::TlsFiles,
    kernel::{FlowTimeouts, TrackerPreference},
    policy::{Action, Limit, Scope},
};

/// `=== name`, a config, `---`, the rendered report; repeated.
const CASES: &str = include_str!("cases.txt");

fn report_of(text: &str) -> String {
    match parse(Path::new("cerco.toml"), text) {
        Ok((_, report)) => report.render(false),
        Err(report) => report.render(false),
    }
}

#[test]
fn each_bad_config_is_refused_with_place_and_remedy() {
    let mut got = String::new();
    let mut count = 0;
    for case in CASES.split("=== ").skip(1) {
        let (name, rest) = case.split_once('\n').unwrap();
        let (input, _) = rest.split_once("---\n").unwrap();
        let report = report_of(input);
        assert!(!report.is_empty(), "{name}: nothing was reported");
        got += &format!("=== {name}\n{input}---\n{report}\n\n");
        count += 1;
    }
    assert_eq!(count, 45, "cases were lost");
    if std::env::var_os("CERCO_REWRITE_CASES").is_some() {
        fs::write("src/config/cases.txt", &got).unwrap();
        return;
    }
    for (got, expected) in got.split("=== ").zip(CASES.split("=== ")) {
        assert_eq!(got, expected);
    }
}

#[test]
fn every_key_arrives_where_it_belongs() {
    let text = r#"
        interfaces = ["eth0", "wan1"]
        mode = "enforce"
        attach = "generic"
        [geo]
        database = "/var/lib/GeoIP/mo.txt"
        country = "mo"
        asn_database = "/var/lib/GeoIP/asn.mmdb"
        keep = 5
        [geo.update]
        source = "dbip-lite"
        checksum = "https://x/sum"
        minisign_key = "RWQ"
        max_megabytes = 7
        [geo.canaries]
        "192.0.2.7" = "mo"
        "2001:db8::7" = "CN"
        [policy]
        default = "allow"
        unknown = "deny"
        [policy.countries]
        mo = "allow"
        CN = "allow:residents"
        US = "deny"
        [limits.residents]
        packets_per_second = 200
        new_connections_per_second = 20
        burst_connections = 25
        ipv6_prefix_len = 56
        [protect]
        tcp = [80, "8000-8100"]
        udp = [53]
        protocols = ["icmp", 47]
        destinations = ["192.0.2.1"]
        [trusted]
        prefixes = ["192.0.2.0/24", "2001:db8::/32"]
        [rules]
        allow = ["198.51.100.7"]
        deny = ["203.0.113.0/24"]
        [paths]
        socket = "/tmp/s"
        state = "/tmp/st"
        pins = "/tmp/p"
        [metrics]
        listen = "[::1]:1"
        [dashboard]
        enabled = true
        listen = "192.0.2.1:2"
        host_names = ["Gate.example.org", "192.0.2.9"]
        tls_certificate = "/c"
        tls_key = "/k"
        token_file = "/t"
        [history]
        enabled = false
        keep_minutes_days = 7
        keep_hours_days = 8
        max_megabytes = 9
        [replies]
        enabled = false
        attach = "clsact"
        tcp_syn_sent_seconds = 1
        tcp_established_seconds = 2
        tcp_fin_seconds = 3
        tcp_reset_seconds = 4
        udp_seconds = 5
        udp_stream_seconds = 6
        icmp_echo_seconds = 31_536_000
    "#;
    let (config, report) = parse(Path::new("cerco.toml"), text).unwrap();
    assert_eq!(report.render(false), "");
    let code = |text| CountryCode::parse(text).unwrap();
    let prefix = |text: &str| text.parse().unwrap();
    let expected = Config {
        interfaces: Interfaces::Named(vec!["eth0".into(), "wan1".into()]),
        mode: Mode::Enforce,
        attach: AttachPreference::Generic,
        database: DatabaseSource::File("/var/lib/GeoIP/mo.txt".into()),
        asn_database: Some("/var/lib/GeoIP/asn.mmdb".into()),
        keep_databases: 5,
        canaries: vec![
            ("192.0.2.7".parse().unwrap(), code("MO")),
            ("2001:db8::7".parse().unwrap(), code("CN")),
        ],
        update: UpdateConfig {
            source: Some("dbip-lite".into()),
            checksum: Some("https://x/sum".into()),
            minisign_key: Some("RWQ".into()),
            max_bytes: 7_000_000,
        },
        database_country: Some(code("MO")),
        policy: Policy {
            default: Action::Allow,
            unknown: Action::Deny,
            private: Action::Deny,
            countries: [
                (code("CN"), Action::Limit(0)),
                (code("MO"), Action::Allow),
                (code("US"), Action::Deny),
            ]
            .into(),
            limits: vec![Limit {
                name: "residents".into(),
                packets_per_second: Some(200),
                burst_packets: 400,
                new_connections_per_second: Some(20),
                burst_connections: 25,
                ipv4_prefix_len: 32,
                ipv6_prefix_len: 56,
            }],
            scope: Scope {
                tcp: vec![(80, 80), (8000, 8100)],
                udp: vec![(53, 53)],
                protocols: vec![1, 47],
                destinations: vec![prefix("192.0.2.1/32")],
            },
            trusted: vec![prefix("192.0.2.0/24"), prefix("2001:db8::/32")],
            allow: vec![prefix("198.51.100.7/32")],
            deny: vec![prefix("203.0.113.0/24")],
            exceptions: Vec::new(),
        },
        paths: Paths {
            socket: "/tmp/s".into(),
            state: "/tmp/st".into(),
            pins: "/tmp/p".into(),
        },
        replies: Replies {
            enabled: false,
            attach: TrackerPreference::Clsact,
            timeouts: FlowTimeouts {
                tcp_syn_sent: 1,
                tcp_established: 2,
                tcp_fin: 3,
                tcp_reset: 4,
                udp: 5,
                udp_stream: 6,
                icmp_echo: 31_536_000,
            },
        },
        metrics: Some("[::1]:1".parse().unwrap()),
        dashboard: DashboardConfig {
            enabled: true,
            listen: "192.0.2.1:2".parse().unwrap(),
            host_names: vec!["gate.example.org".into(), "192.0.2.9".into()],
            tls: Some(TlsFiles {
                certificate: "/c".into(),
                key: "/k".into(),
            }),
            token_file: Some("/t".into()),
        },
        history: HistoryConfig {
            enabled: false,
            keep_minutes: 7 * 86_400,
            keep_hours: 8 * 86_400,
            max_bytes: 9_000_000,
        },
    };
    assert_eq!(config, expected);
}

#[test]
fn example_is_valid_and_observes() {
    let (config, report) = parse(Path::new("cerco.toml"), EXAMPLE).unwrap();
    assert_eq!(report.render(false), "");
    assert_eq!(config.mode, Mode::Observe);
    assert_eq!(config.interfaces, Interfaces::Auto);
    assert_eq!(config.metrics, Some(([127, 0, 0, 1], 9273).into()));
    assert_eq!(config.dashboard, DashboardConfig::default());
    assert_eq!(config.paths.pins, Path::new("/sys/fs/bpf/cerco"));
    // The lines that show defaults must be valid too, when someone removes the `# `.
    let all: String = EXAMPLE
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(rest) if rest.starts_with('[') || rest.contains(" = ") && !rest.contains('`') => {
                format!("{rest}\n")
            }
            _ => format!("{line}\n"),
        })
        .collect();
    let (config, _) = parse(Path::new("cerco.toml"), &all).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(config.policy.limits.len(), 1);
    assert_eq!(config.policy.scope.tcp.len(), 3);
    assert_eq!(config.replies, Replies::default());
    assert_eq!(config.history, HistoryConfig::default());
    let written = DashboardConfig {
        tls: Some(TlsFiles {
            certificate: "/etc/cerco/dashboard.crt".into(),
            key: "/etc/cerco/dashboard.key".into(),
        }),
        token_file: Some("/etc/cerco/dashboard.token".into()),
        ..DashboardConfig::default()
    };
    assert_eq!(config.dashboard, written);
    for key in draft::REPLY_KEYS {
        assert!(
            all.lines().any(|line| line.starts_with(&format!("{key} "))),
            "{key}"
        );
    }
}

#[test]
fn later_file_overrides_values_and_adds_to_lists() {
    let mut draft = Draft::default();
    let mut report = Report::default();
    let first = "interfaces = [\"eth0\"]\nmode = \"observe\"\n[policy.countries]\nMO = \"allow\"\n\
                 CN = \"deny\"\n[trusted]\nprefixes = [\"192.0.2.0/24\"]\n[limits.a]\n\
                 packets_per_second = 5\n";
    let second = "mode = \"enforce\"\n[policy.countries]\nCN = \"allow:a\"\n[trusted]\n\
                  prefixes = [\"198.51.100.0/24\"]\n[limits.a]\nburst_packets = 50\n";
    read_text(
        Path::new("cerco.toml"),
        first.into(),
        &mut draft,
        &mut report,
    );
    read_text(
        Path::new("10-a.toml"),
        second.into(),
        &mut draft,
        &mut report,
    );
    let config = build::build(&draft, &mut report).unwrap();
    assert_eq!(config.mode, Mode::Enforce);
    assert_eq!(config.policy.trusted.len(), 2);
    let cn = CountryCode::parse("CN").unwrap();
    assert_eq!(config.policy.action_for(cn), Action::Limit(0));
    assert_eq!(config.policy.limits[0].packets_per_second, Some(5));
    assert_eq!(config.policy.limits[0].burst_packets, 50);
}

#[test]
fn missing_file_names_the_way_to_an_example() {
    let report = load(Some(Path::new("/nonexistent/cerco.toml"))).unwrap_err();
    let text = report.render(false);
    assert!(
        text.contains("cannot read /nonexistent/cerco.toml: No such file"),
        "{text}"
    );
    assert!(text.contains("cerco check --example"), "{text}");
}
