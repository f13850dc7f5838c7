//! What monitors cerco (rules, dashboard, documentation) beside what the daemon really shows.
//!
//! Names that nobody exposes give no error anywhere: an alert on one would just never come.

mod asked;
mod exposition;
mod scraped;

use exposition::{Listed, families};
use integration_tests::{
    daemon::{Cerco, cerco_binary},
    http,
    prometheus::program,
    site::{Ended, Site, ended, fed},
};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Below the root of the workspace.
fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

fn text(path: &str) -> String {
    fs::read_to_string(file(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn rules() -> PathBuf {
    file("packaging/prometheus/cerco.rules.yml")
        .canonicalize()
        .unwrap()
}

/// A gate with the builtin database, whose date the metrics show. It only observes, so that nothing is
/// shown of it that a fresh one would not show.
fn start(site: &Site) -> Cerco {
    let config = "interfaces = [\"eth0\"]\n[policy.countries]\nMO = \"allow\"\n";
    Cerco::start(&site.host, config).unwrap()
}

const OPEN_METRICS: &str = "Accept: application/openmetrics-text; version=1.0.0\r\n";

fn scrape(site: &Site, headers: &str) -> http::Answer {
    let request = "GET /metrics HTTP/1.1";
    let answer = http::ask(&site.host, Cerco::METRICS, request, headers).unwrap();
    assert!(answer.head.starts_with("HTTP/1.1 200"), "{answer:?}");
    answer
}

/// Runs promtool over `input`.
fn promtool(args: &[&str], input: &str) -> Ended {
    fed(Command::new(program("promtool").unwrap()).args(args), input)
}

#[test]
fn promtool_finds_no_fault_with_a_scrape() {
    let site = Site::new().unwrap();
    let _cerco = start(&site);
    let clean = Ended {
        code: 0,
        stdout: String::new(),
        stderr: String::new(),
    };
    let body = scrape(&site, "").body;
    assert_eq!(promtool(&["check", "metrics"], &body), clean);
    // It looks: a family without help is found.
    let bare = body.replace("# HELP cerco_bans ", "# ");
    let found = promtool(&["check", "metrics"], &bare);
    assert!(
        found.stderr.contains("cerco_bans no help text"),
        "{found:?}"
    );
}

#[test]
fn alert_rules_pass_their_unit_tests() {
    let path = |name: &str| file(&format!("packaging/prometheus/{name}"));
    let run = |verb: &str, name: &str| {
        let path = path(name);
        let ended = promtool(&[verb, "rules", path.to_str().unwrap()], "");
        assert_eq!(ended.code, 0, "{ended:?}");
        assert!(ended.stdout.contains("SUCCESS"), "{ended:?}");
    };
    run("check", "cerco.rules.yml");
    run("test", "cerco.rules.test.yml");
    // Each alert has a case in which it comes and one in which it does not.
    let rules = text("packaging/prometheus/cerco.rules.yml");
    let tests = text("packaging/prometheus/cerco.rules.test.yml");
    let cases: Vec<&str> = tests.split("- alertname: ").skip(1).collect();
    let mut alerts = 0;
    for line in rules.lines() {
        let Some(name) = line.trim().strip_prefix("- alert: ") else {
            continue;
        };
        alerts += 1;
        for (kind, words) in [
            ("comes", "exp_alerts:\n"),
            ("stays away", "exp_alerts: []\n"),
        ] {
            let tested = |case: &&str| case.lines().next() == Some(name) && case.contains(words);
            assert!(cases.iter().any(tested), "{name} {kind}: no test");
        }
    }
    assert!(alerts >= 7, "{alerts}");
}

#[test]
fn documentation_lists_what_is_exposed() {
    let site = Site::new().unwrap();
    let _cerco = start(&site);
    let exposed = families(&scrape(&site, OPEN_METRICS).body);
    let document = text("docs/metrics.md");
    let rows = document.lines().filter(|line| line.starts_with("| `"));
    let documented: BTreeSet<Listed> = rows
        .map(|row| {
            let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
            let [name, kind, unit, labels, help] = cells[..] else {
                panic!("{row}");
            };
            Listed {
                name: name.trim_matches('`').to_owned(),
                kind: kind.to_owned(),
                unit: unit.to_owned(),
                labels: labels.replace('`', ""),
                help: help.to_owned(),
            }
        })
        .collect();
    let line = |it: &Listed| {
        let labels = match it.labels.as_str() {
            "–" => "–".to_owned(),
            names => format!("`{}`", names.replace(", ", "`, `")),
        };
        format!(
            "| `{}` | {} | {} | {labels} | {} |",
            it.name, it.kind, it.unit, it.help
        )
    };
    let missing: Vec<String> = exposed.difference(&documented).map(line).collect();
    let gone: Vec<String> = documented.difference(&exposed).map(line).collect();
    assert!(
        missing.is_empty(),
        "not in docs/metrics.md:\n{}",
        missing.join("\n")
    );
    assert!(
        gone.is_empty(),
        "only in docs/metrics.md:\n{}",
        gone.join("\n")
    );
}

#[test]
fn documented_scrape_config_is_valid() {
    let document = text("docs/metrics.md");
    let block = document.split("```yaml\n").nth(1).unwrap();
    let config = block.split("```").next().unwrap();
    let installed = "/etc/prometheus/cerco.rules.yml";
    assert!(config.contains(installed), "{config}");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("prometheus.yml");
    fs::write(&path, config.replace(installed, rules().to_str().unwrap())).unwrap();
    let ended = promtool(&["check", "config", path.to_str().unwrap()], "");
    assert_eq!(ended.code, 0, "{ended:?}");
}

#[test]
fn alerts_advise_commands_that_exist() {
    let commands = asked::cerco_commands(&text("packaging/prometheus/cerco.rules.yml"));
    for known in ["status", "geo diff", "enforce"] {
        assert!(commands.contains(known), "{known}: {commands:?}");
    }
    for command in &commands {
        let args: Vec<&str> = command.split(' ').chain(["--help"]).collect();
        let ended = ended(Command::new(cerco_binary().unwrap()).args(args));
        assert_eq!(ended.code, 0, "{command}: {ended:?}");
    }
}
