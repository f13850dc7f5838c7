use filter_common::verdict::{Reason, Verdict};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::kernel::Count;

fn snapshot() -> Snapshot {
    let mut enforced = vec![Count::default(); Reason::COUNT];
    enforced[Reason::Allowed as usize] = Count {
        packets: 7,
        bytes: 700,
    };
    enforced[Reason::CountryDenied as usize] = Count {
        packets: 3,
        bytes: 180,
    };
    let mut would_drop = vec![Count::default(); Reason::COUNT];
    would_drop[Reason::CountryDenied as usize] = Count {
        packets: 2,
        bytes: 120,
    };
    Snapshot {
        interfaces: vec![InterfaceCounters {
            interface: "eth0".into(),
            enforced,
            would_drop,
            class_passed: Vec::new(),
            class_dropped: Vec::new(),
            class_would_drop: Vec::new(),
        }],
        attached: vec![
            ("eth0".into(), Some(AttachMode::Generic)),
            ("eth1".into(), None),
            ("a\"b".into(), Some(AttachMode::Native)),
        ],
        countries: vec![(CountryCode::parse("MO").unwrap(), [7, 0, 1])],
        database_built: Some(1_780_272_000),
        networks_v4: 4,
        networks_v6: 6,
        mode: Mode::Enforce,
        trial_pending: true,
        published: Some(1_780_300_000),
        runtime_rules: 8,
        bans: 5,
        table_bytes: 4096,
        reload_failures: 1,
        replies_enabled: true,
        flows: FlowCount {
            tcp: 12,
            udp: 3,
            echo: 1,
        },
        tracker_faults: 2,
        database_failures: vec![("invalid", 0), ("networks", 2)],
        database_held: false,
        database_refused: true,
        history: Some((4_096_000, true)),
        process: Process {
            cpu_seconds: 1.25,
            started: 1_780_299_999.5,
            resident_bytes: Some(30 << 20),
            open_fds: Some(40),
        },
    }
}

#[test]
fn exposition_has_every_reason_and_its_units() {
    let text = render(snapshot(), Format::OpenMetrics).unwrap();
    for line in [
        "# UNIT cerco_packets packets",
        "# TYPE cerco_packets counter",
        "cerco_packets_total{interface=\"eth0\",verdict=\"pass\",reason=\"allowed\"} 7",
        "cerco_packets_total{interface=\"eth0\",verdict=\"drop\",reason=\"country_denied\"} 3",
        "cerco_packets_total{interface=\"eth0\",verdict=\"would_drop\",reason=\"country_denied\"} 2",
        "cerco_packets_total{interface=\"eth0\",verdict=\"drop\",reason=\"bad_udp_len\"} 0",
        "cerco_interface_attached{interface=\"eth0\"} 1",
        "cerco_interface_attached{interface=\"eth1\"} 0",
        "cerco_interface_attached{interface=\"a\\\"b\"} 1",
        "cerco_interface_attach_mode{interface=\"eth0\",mode=\"native\"} 0",
        "cerco_interface_attach_mode{interface=\"eth0\",mode=\"generic\"} 1",
        "cerco_interface_attach_mode{interface=\"eth1\",mode=\"native\"} 0",
        "cerco_interface_attach_mode{interface=\"eth1\",mode=\"generic\"} 0",
        "# UNIT cerco_bytes bytes",
        "cerco_bytes_total{interface=\"eth0\",verdict=\"drop\",reason=\"country_denied\"} 180",
        "cerco_country_packets_total{country=\"MO\",verdict=\"would_drop\"} 1",
        "# UNIT cerco_database_build_timestamp_seconds seconds",
        "cerco_database_build_timestamp_seconds 1780272000",
        "cerco_database_networks{family=\"ipv6\"} 6",
        "cerco_database_update_failures_total{reason=\"invalid\"} 0",
        "cerco_database_update_failures_total{reason=\"networks\"} 2",
        "cerco_database_refused 1",
        "cerco_database_held 0",
        "cerco_mode{mode=\"observe\"} 0",
        "cerco_mode{mode=\"enforce\"} 1",
        "cerco_trial_pending 1",
        "cerco_policy_published_timestamp_seconds 1780300000",
        "cerco_runtime_rules 8",
        "cerco_bans 5",
        "# UNIT cerco_table_bytes bytes",
        "cerco_table_bytes 4096",
        "# TYPE cerco_replies_enabled gauge",
        "cerco_replies_enabled 1",
        "# TYPE cerco_flows gauge",
        "cerco_flows{protocol=\"tcp\"} 12",
        "cerco_flows{protocol=\"udp\"} 3",
        "cerco_flows{protocol=\"icmp\"} 1",
        "# TYPE cerco_tracker_faults gauge",
        "cerco_tracker_faults 2",
        "# UNIT cerco_history_bytes bytes",
        "cerco_history_bytes 4096000",
        "cerco_history_fault 1",
        "cerco_reload_failures_total 1",
        "cerco_build_info{version=\"0.1.0\"} 1",
        "# UNIT process_cpu_seconds seconds",
        "process_cpu_seconds_total 1.25",
        "process_start_time_seconds 1780299999.5",
        "process_resident_memory_bytes 31457280",
        "process_open_fds 40",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
    }
    let drops = Reason::ALL
        .iter()
        .filter(|reason| reason.verdict() == Verdict::Drop)
        .count();
    let samples = text
        .lines()
        .filter(|l| l.starts_with("cerco_packets_total"));
    assert_eq!(samples.count(), Reason::COUNT + drops);
    assert!(text.ends_with("# EOF\n"));
    for help in text.lines().filter(|line| line.starts_with("# HELP")) {
        assert!(help.split(' ').count() > 4, "{help}");
    }
}

#[test]
fn both_formats_have_the_same_samples() {
    let samples = |format| {
        let text = render(snapshot(), format).unwrap();
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        samples.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(samples(Format::Classic), samples(Format::OpenMetrics));
    let text = render(snapshot(), Format::Classic).unwrap();
    for absent in ["# UNIT", "# EOF", " info\n"] {
        assert!(!text.contains(absent), "{absent} in\n{text}");
    }
    // Escaped alike in both formats, and so that a line stays one.
    assert!(
        !text
            .lines()
            .any(|line| { line.starts_with("# HELP") && line.contains(['\\', '"']) })
    );
}

async fn exchange(address: SocketAddr, request: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let _ = timeout(Duration::from_secs(10), stream.read_to_string(&mut answer))
        .await
        .expect("an answer within ten seconds");
    answer
}

#[test]
fn only_get_metrics_is_served() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, mut receiver) = mpsc::channel::<Scrape>(1);
        let fault = watch::channel(None).0;
        tokio::spawn(serve_at(endpoint(address), Some(listener), sender, fault));
        tokio::spawn(async move {
            while let Some(scrape) = receiver.recv().await {
                let _ = scrape.send(Ok(snapshot()));
            }
        });
        let many = format!("GET /metrics HTTP/1.1\r\nx: {}\r\n\r\n", "a".repeat(9000));
        let cases = [
            (
                "scrape",
                "GET /metrics HTTP/1.1\r\nhost: a\r\n\r\n",
                "200 OK",
            ),
            (
                "other path",
                "GET / HTTP/1.1\r\nhost: a\r\n\r\n",
                "404 Not Found",
            ),
            (
                "other method",
                "POST /metrics HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n",
                "405 Method Not Allowed",
            ),
            (
                "headers too large",
                many.as_str(),
                "431 Request Header Fields Too Large",
            ),
            ("no HTTP", "hello\r\n\r\n", "400 Bad Request"),
        ];
        for (accept, kind) in [
            ("", "text/plain; version=0.0.4; charset=utf-8"),
            (
                "accept: application/openmetrics-text;version=1.0.0\r\n",
                "application/openmetrics-text; version=1.0.0; charset=utf-8",
            ),
        ] {
            let request = format!("GET /metrics HTTP/1.1\r\nhost: a\r\n{accept}\r\n");
            let answer = exchange(address, &request).await;
            let line = format!("content-type: {kind}\r\n");
            assert!(answer.contains(&line), "{accept}: {answer}");
        }
        for (name, request, status) in cases {
            let answer = exchange(address, request).await;
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status}")),
                "{name}: {answer}"
            );
        }
    });
}
