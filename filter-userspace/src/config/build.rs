//! From the draft of all files to a valid config: defaults, and the checks that need the whole.

use std::path::PathBuf;

use filter_common::country::CountryCode;
use ipnetwork::IpNetwork;

use super::{
    Config, DatabaseSource, Interfaces, Paths,
    draft::{ActionWord, Draft, LimitDraft, Listen},
    report::{Report, Severity},
    value::{At, nearest},
};
use crate::{
    dashboard::{DashboardConfig, TlsFiles},
    history::{DAY, HistoryConfig},
    kernel::{AttachPreference, FlowTimeouts, Mode, Replies},
    policy::{Action, Limit, Policy, Scope},
    update::UpdateConfig,
};

/// As many as the kernel's table of limits has rows.
const MAX_LIMITS: usize = 64;
const MAX_INTERFACES: usize = 16;
/// Per address family.
const MAX_DESTINATIONS: usize = 16;
/// Longest time in which a burst may be earned back; keeps the limiter's arithmetic in 64 bits.
const MAX_BURST_SECONDS: u32 = 3600;
/// Databases that are kept, the one in force among them.
const DEFAULT_KEEP: usize = 3;
/// The largest country databases have some 50.
const DEFAULT_MAX_MEGABYTES: u32 = 256;
const DEFAULT_LISTEN: ([u8; 4], u16) = ([127, 0, 0, 1], 9273);

/// Paths of `draft`, with the defaults for those that it leaves out.
pub fn paths(draft: &Draft) -> Paths {
    let or = |path: &Option<PathBuf>, default: &str| path.clone().unwrap_or_else(|| default.into());
    Paths {
        socket: or(&draft.socket, "/run/cerco/cerco.sock"),
        state: or(&draft.state, "/var/lib/cerco"),
        pins: or(&draft.pins, "/sys/fs/bpf/cerco"),
    }
}

/// The config, if `report` has no errors in the end.
pub fn build(draft: &Draft, report: &mut Report) -> Option<Config> {
    let interfaces = interfaces(draft, report);
    let limits = limits(draft, report);
    let policy = policy(draft, limits, report);
    let metrics = metrics(draft, report);
    let dashboard = dashboard(draft, report);
    let mode = draft.mode.as_ref().map_or(Mode::Observe, |mode| mode.value);
    if mode == Mode::Enforce
        && policy.default == Action::Deny
        && policy
            .countries
            .values()
            .all(|action| *action == Action::Deny)
    {
        report.push(
            Severity::Warning,
            draft.mode.as_ref().map(|mode| mode.place.clone()),
            "mode is \"enforce\", default is \"deny\" and no country is allowed",
            "only trusted prefixes and [rules] allow would get in",
            Some("name a country under [policy.countries], as in MO = \"allow\"".to_owned()),
        );
    }
    let database = match draft.database.as_ref().map(|at| at.value.as_str()) {
        None | Some("builtin") => DatabaseSource::Builtin,
        Some(path) => DatabaseSource::File(path.into()),
    };
    let config = Config {
        interfaces,
        mode,
        attach: draft
            .attach
            .as_ref()
            .map_or(AttachPreference::Auto, |attach| attach.value),
        database,
        asn_database: draft.asn_database.clone(),
        keep_databases: draft
            .keep
            .as_ref()
            .map_or(DEFAULT_KEEP, |keep| keep.value as usize),
        canaries: draft.canaries.clone().into_iter().collect(),
        update: UpdateConfig {
            source: draft.update_source.clone(),
            checksum: draft.update_checksum.clone(),
            minisign_key: draft.update_minisign_key.clone(),
            max_bytes: u64::from(
                draft
                    .update_max_megabytes
                    .as_ref()
                    .map_or(DEFAULT_MAX_MEGABYTES, |at| at.value),
            ) * 1_000_000,
        },
        database_country: draft.database_country.as_ref().map(|at| at.value),
        policy,
        paths: paths(draft),
        replies: replies(draft),
        metrics,
        dashboard,
        history: history(draft),
    };
    (!report.has_errors()).then_some(config)
}

fn history(draft: &Draft) -> HistoryConfig {
    let default = HistoryConfig::default();
    let limit = |key, unit: u64, otherwise| {
        let written = draft.history_limits.get(key);
        written.map_or(otherwise, |at| u64::from(at.value) * unit)
    };
    HistoryConfig {
        enabled: draft
            .history_enabled
            .as_ref()
            .map_or(default.enabled, |at| at.value),
        keep_minutes: limit("keep_minutes_days", DAY, default.keep_minutes),
        keep_hours: limit("keep_hours_days", DAY, default.keep_hours),
        max_bytes: limit("max_megabytes", 1_000_000, default.max_bytes),
    }
}

fn replies(draft: &Draft) -> Replies {
    let mut replies = Replies::default();
    if let Some(enabled) = &draft.replies_enabled {
        replies.enabled = enabled.value;
    }
    if let Some(attach) = &draft.replies_attach {
        replies.attach = attach.value;
    }
    for (key, slot) in timeout_keys(&mut replies.timeouts) {
        if let Some(seconds) = draft.reply_timeouts.get(key) {
            *slot = seconds.value;
        }
    }
    replies
}

/// The keys of `[replies]` that are times, and what they set.
fn timeout_keys(timeouts: &mut FlowTimeouts) -> [(&'static str, &mut u32); 7] {
    [
        ("tcp_syn_sent_seconds", &mut timeouts.tcp_syn_sent),
        ("tcp_established_seconds", &mut timeouts.tcp_established),
        ("tcp_fin_seconds", &mut timeouts.tcp_fin),
        ("tcp_reset_seconds", &mut timeouts.tcp_reset),
        ("udp_seconds", &mut timeouts.udp),
        ("udp_stream_seconds", &mut timeouts.udp_stream),
        ("icmp_echo_seconds", &mut timeouts.icmp_echo),
    ]
}

fn interfaces(draft: &Draft, report: &mut Report) -> Interfaces {
    let names: Vec<String> = draft.interfaces.iter().map(|at| at.value.clone()).collect();
    let auto = draft.interfaces.iter().find(|at| at.value == "auto");
    match (auto, names.len()) {
        // A refused name was reported already; this is about the key that nobody wrote.
        (_, 0) => {
            let unwritten = !report.has_errors();
            if unwritten {
                let help = "write interfaces = [\"eth0\"], or \"auto\" for the interfaces \
                            with a default route";
                report.push(
                    Severity::Error,
                    None,
                    "interfaces: missing, and there is no default",
                    "",
                    Some(help.to_owned()),
                );
            }
        }
        (Some(auto), 2..) => report.error(
            auto.place.clone(),
            "interfaces: \"auto\" stands beside names",
            "write either \"auto\" alone or only names",
        ),
        (_, count) if count > MAX_INTERFACES => report.error(
            draft.interfaces[MAX_INTERFACES].place.clone(),
            format!("interfaces: {count} are too many"),
            format!(
                "at most {MAX_INTERFACES}; this is number {}",
                MAX_INTERFACES + 1
            ),
        ),
        _ => {}
    }
    if auto.is_some() {
        Interfaces::Auto
    } else {
        Interfaces::Named(names)
    }
}

fn limits(draft: &Draft, report: &mut Report) -> Vec<Limit> {
    if draft.limits.len() > MAX_LIMITS {
        let place = draft
            .limits
            .values()
            .nth(MAX_LIMITS)
            .and_then(|l| l.place.clone());
        report.push(
            Severity::Error,
            place,
            format!("limits: {} are too many", draft.limits.len()),
            format!("at most {MAX_LIMITS}"),
            None,
        );
    }
    draft
        .limits
        .iter()
        .map(|(name, limit)| build_limit(name, limit, report))
        .collect()
}

fn build_limit(name: &str, draft: &LimitDraft, report: &mut Report) -> Limit {
    let rate = |at: &Option<At<u32>>| at.as_ref().map(|at| at.value);
    if !draft.faulty
        && rate(&draft.packets_per_second).is_none()
        && rate(&draft.new_connections_per_second).is_none()
    {
        report.push(
            Severity::Error,
            draft.place.clone(),
            format!("limits.{name}: limits nothing"),
            "needs packets_per_second, new_connections_per_second or both",
            None,
        );
    }
    let packets = ("packets_per_second", "burst_packets");
    let connections = ("new_connections_per_second", "burst_connections");
    Limit {
        name: name.to_owned(),
        packets_per_second: rate(&draft.packets_per_second),
        burst_packets: burst(
            name,
            packets,
            &draft.packets_per_second,
            &draft.burst_packets,
            report,
        ),
        new_connections_per_second: rate(&draft.new_connections_per_second),
        burst_connections: burst(
            name,
            connections,
            &draft.new_connections_per_second,
            &draft.burst_connections,
            report,
        ),
        ipv4_prefix_len: draft
            .ipv4_prefix_len
            .as_ref()
            .map_or(32, |at| at.value as u8),
        ipv6_prefix_len: draft
            .ipv6_prefix_len
            .as_ref()
            .map_or(64, |at| at.value as u8),
    }
}

/// The burst as written, or two seconds' worth.
fn burst(
    limit: &str,
    (rate_key, burst_key): (&str, &str),
    rate: &Option<At<u32>>,
    burst: &Option<At<u32>>,
    report: &mut Report,
) -> u32 {
    let Some(rate) = rate else {
        if let Some(burst) = burst {
            report.error(
                burst.place.clone(),
                format!("limits.{limit}.{burst_key}: a burst without a rate"),
                format!("needs {rate_key} beside it"),
            );
        }
        return 1;
    };
    let Some(burst) = burst else {
        return rate.value * 2;
    };
    let most = rate.value.saturating_mul(MAX_BURST_SECONDS);
    if burst.value > most {
        report.error(
            burst.place.clone(),
            format!("limits.{limit}.{burst_key}: {} is too much", burst.value),
            format!("at most {most}: what {rate_key} earns in {MAX_BURST_SECONDS} s"),
        );
    }
    burst.value
}

fn policy(draft: &Draft, limits: Vec<Limit>, report: &mut Report) -> Policy {
    let mut resolve = |key: &str, at: &At<ActionWord>| match &at.value {
        ActionWord::Allow => Action::Allow,
        ActionWord::Deny => Action::Deny,
        ActionWord::AllowWithin(name) => {
            if let Some(index) = limits.iter().position(|limit| limit.name == *name) {
                return Action::Limit(index);
            }
            let names: Vec<&str> = limits.iter().map(|limit| limit.name.as_str()).collect();
            let label = if names.is_empty() {
                format!("no limit is defined; add a [limits.{name}] section")
            } else {
                format!("known limits: {}", names.join(", "))
            };
            report.push(
                Severity::Error,
                Some(at.place.clone()),
                format!("{key}: there is no limit \"{name}\""),
                label,
                nearest(name, names.iter().copied()).map(|near| format!("did you mean `{near}`?")),
            );
            Action::Deny
        }
    };
    let mut or = |key: &str, at: &Option<At<ActionWord>>, otherwise: Action| match at {
        Some(at) => resolve(key, at),
        None => otherwise,
    };
    let default = or("policy.default", &draft.default, Action::Deny);
    let unknown = or("policy.unknown", &draft.unknown, Action::Deny);
    let private = or("policy.private", &draft.private, unknown);
    let countries: std::collections::BTreeMap<CountryCode, Action> = draft
        .countries
        .iter()
        .map(|(code, at)| (*code, resolve(&format!("policy.countries.{code}"), at)))
        .collect();
    warn_of_contradictions(draft, report);
    check_destinations(draft, report);
    Policy {
        default,
        unknown,
        private,
        countries,
        limits,
        scope: Scope {
            tcp: draft.protect_tcp.clone(),
            udp: draft.protect_udp.clone(),
            protocols: draft.protect_protocols.clone(),
            destinations: prefixes(&draft.protect_destinations),
        },
        trusted: prefixes(&draft.trusted),
        allow: prefixes(&draft.allow),
        deny: prefixes(&draft.deny),
        exceptions: Vec::new(),
    }
}

fn prefixes(list: &[At<IpNetwork>]) -> Vec<IpNetwork> {
    list.iter().map(|at| at.value).collect()
}

fn warn_of_contradictions(draft: &Draft, report: &mut Report) {
    for allowed in &draft.allow {
        if draft
            .deny
            .iter()
            .any(|denied| denied.value == allowed.value)
        {
            report.push(
                Severity::Warning,
                Some(allowed.place.clone()),
                format!("rules: {} is under both allow and deny", allowed.value),
                "deny wins",
                Some("remove one of the two".to_owned()),
            );
        }
    }
}

fn check_destinations(draft: &Draft, report: &mut Report) {
    let (v4, v6): (Vec<_>, Vec<_>) = draft
        .protect_destinations
        .iter()
        .partition(|at| at.value.is_ipv4());
    for (family, list) in [("IPv4", v4), ("IPv6", v6)] {
        if let Some(first_too_many) = list.get(MAX_DESTINATIONS) {
            report.error(
                first_too_many.place.clone(),
                format!(
                    "protect.destinations: {} {family} prefixes are too many",
                    list.len()
                ),
                format!("at most {MAX_DESTINATIONS} of each family; merge neighbours"),
            );
        }
    }
}

fn metrics(draft: &Draft, report: &mut Report) -> Option<std::net::SocketAddr> {
    let listen = match draft.listen.as_ref() {
        None => return Some(DEFAULT_LISTEN.into()),
        Some(listen) => listen,
    };
    let Listen::On(address) = listen.value else {
        return None;
    };
    let remote_allowed = draft.allow_remote.as_ref().is_some_and(|flag| flag.value);
    if !address.ip().is_loopback() && !remote_allowed {
        report.push(
            Severity::Error,
            Some(listen.place.clone()),
            format!("metrics.listen: {address} can be reached from other hosts"),
            "must be a loopback address such as 127.0.0.1:9273",
            Some("to serve other hosts all the same, set allow_remote = true".to_owned()),
        );
    }
    Some(address)
}

fn dashboard(draft: &Draft, report: &mut Report) -> DashboardConfig {
    let default = DashboardConfig::default();
    let file = |key| draft.dashboard_files.get(key).map(|at| at.value.clone());
    let files = ["tls_certificate", "tls_key", "token_file"];
    let enabled = draft
        .dashboard_enabled
        .as_ref()
        .map_or(default.enabled, |at| at.value);
    for (key, other) in [
        ("tls_certificate", "tls_key"),
        ("tls_key", "tls_certificate"),
    ] {
        if let (Some(alone), None) = (draft.dashboard_files.get(key), file(other)) {
            report.error(
                alone.place.clone(),
                format!("dashboard.{key}: TLS needs both a certificate and its key"),
                format!("needs {other} beside it"),
            );
        }
    }
    if let Some(listen) = &draft.dashboard_listen {
        let missing: Vec<&str> = files
            .into_iter()
            .filter(|key| file(key).is_none())
            .collect();
        if enabled && !listen.value.ip().is_loopback() && !missing.is_empty() {
            report.push(
                Severity::Error,
                Some(listen.place.clone()),
                format!(
                    "dashboard.listen: {} can be reached from other hosts; missing: {}",
                    listen.value,
                    missing.join(", ")
                ),
                "only with tls_certificate, tls_key and token_file beside it",
                Some(
                    "keep 127.0.0.1:9843 and come by `ssh -L 9843:localhost:9843 HOST`; a token is \
                     made by `(umask 077; openssl rand -hex 32 > /etc/cerco/dashboard.token)`"
                        .to_owned(),
                ),
            );
        }
    }
    DashboardConfig {
        enabled,
        listen: draft
            .dashboard_listen
            .as_ref()
            .map_or(default.listen, |at| at.value),
        host_names: draft.dashboard_host_names.clone(),
        tls: file("tls_certificate")
            .zip(file("tls_key"))
            .map(|(certificate, key)| TlsFiles { certificate, key }),
        token_file: file("token_file"),
    }
}
