//! A real Prometheus scrapes a daemon.

use crate::{
    asked::{dashboard_expressions, selectors},
    rules, start, text,
};
use integration_tests::{
    places::{Family, address_in},
    poll,
    prometheus::Prometheus,
    site::Site,
};
use serde_json::Value;
use std::{collections::BTreeSet, time::Duration};

const LIMIT: Duration = Duration::from_secs(60);

/// The rules of every group, as the server tells of them.
fn rules_of(prometheus: &Prometheus) -> Vec<Value> {
    let groups = prometheus.api("rules").unwrap();
    let groups = groups["groups"].as_array().unwrap().iter();
    let rules = groups.map(|group| group["rules"].as_array().unwrap().clone());
    rules.flatten().collect()
}

#[test]
fn rules_and_dashboard_ask_for_what_there_is() {
    let site = Site::new().unwrap();
    let cerco = start(&site);
    let prometheus = Prometheus::start(&site.host, &rules()).unwrap();
    let [denied, allowed] =
        ["DE", "MO"].map(|country| address_in(country, Family::V4, 1, 0).to_string());
    let shows_something = |expression: &str| {
        poll::until(&format!("see anything of {expression}"), LIMIT, || {
            // What is asked for may be a rate, and only of what there was.
            for source in [&denied, &allowed] {
                site.send(source, 5).unwrap();
            }
            (!prometheus.query(expression).unwrap().is_empty()).then_some(())
        })
        .unwrap();
    };
    // Counters of what would be dropped first, and then of what is.
    shows_something("increase(cerco_country_packets_total{verdict=\"would_drop\"}[5m]) > 0");
    cerco.cli(&["enforce", "--yes"]).unwrap();

    let mut expressions = BTreeSet::new();
    for rule in rules_of(&prometheus) {
        expressions.extend(selectors(rule["query"].as_str().unwrap()));
    }
    assert!(expressions.len() >= 10, "{expressions:?}");
    let dashboard: Value = serde_json::from_str(&text("packaging/grafana/cerco.json")).unwrap();
    dashboard_expressions(&dashboard, &mut expressions);
    assert!(expressions.len() >= 40, "{expressions:?}");
    for expression in &expressions {
        // What Grafana puts there.
        let expression = expression
            .replace("$__rate_interval", "1m")
            .replace("$__range", "5m")
            .replace("$job", "cerco")
            .replace("$instance", ".+")
            .replace("$interface", ".+");
        assert!(!expression.contains('$'), "{expression}");
        shows_something(&expression);
    }
    for rule in rules_of(&prometheus) {
        assert_eq!(rule["health"], "ok", "{rule}");
    }
}

#[test]
fn prometheus_gets_open_metrics_with_units() {
    let site = Site::new().unwrap();
    let _cerco = start(&site);
    let prometheus = Prometheus::start(&site.host, &rules()).unwrap();
    let metadata = poll::until("see a scrape", LIMIT, || {
        let told = prometheus.api("targets/metadata?metric=cerco_packets");
        told.unwrap().get(0).cloned()
    })
    .unwrap();
    let told = ["type", "unit", "help"].map(|key| metadata[key].as_str().unwrap());
    let help = "Frames by interface, verdict and reason";
    assert_eq!(told, ["counter", "packets", help]);
}

/// The gate stands, and the daemon is gone: from then on the alert waits for its two minutes.
#[test]
fn killed_daemon_is_told_from_one_without_a_gate() {
    let site = Site::new().unwrap();
    let mut cerco = start(&site);
    let prometheus = Prometheus::start(&site.host, &rules()).unwrap();
    let comes = |name: &str| {
        let series = format!("ALERTS{{alertname=\"{name}\"}}");
        !prometheus.query(&series).unwrap().is_empty()
    };
    let up = |value: u8| {
        poll::until(&format!("see up = {value}"), LIMIT, || {
            let up = prometheus.query(&format!("up == {value}")).unwrap();
            (!up.is_empty()).then_some(())
        })
        .unwrap();
    };
    up(1);
    assert!(!comes("CercoDaemonDownGateStands"));
    cerco.kill().unwrap();
    up(0);
    poll::until("see the alert", LIMIT, || {
        comes("CercoDaemonDownGateStands").then_some(())
    })
    .unwrap();
    assert!(!comes("CercoDaemonDown"));
}
