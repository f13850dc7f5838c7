//! The sections of the config, read file by file into a draft that the next file may override.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use filter_common::country::CountryCode;
use ipnetwork::IpNetwork;
use toml::{Spanned, de::DeTable};

use super::{
    report::{Place, Severity},
    value::{At, Reader, Value},
};
use crate::{
    countries,
    kernel::{AttachPreference, Mode, TrackerPreference},
};

/// An action as written: a limit still goes by its name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ActionWord {
    Allow,
    Deny,
    AllowWithin(String),
}

#[derive(Clone, Debug, Default)]
pub struct LimitDraft {
    pub place: Option<Place>,
    /// A value was refused, so what is missing here may have been written.
    pub faulty: bool,
    pub packets_per_second: Option<At<u32>>,
    pub burst_packets: Option<At<u32>>,
    pub new_connections_per_second: Option<At<u32>>,
    pub burst_connections: Option<At<u32>>,
    pub ipv4_prefix_len: Option<At<u32>>,
    pub ipv6_prefix_len: Option<At<u32>>,
}

/// Where the metrics listen, as written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Listen {
    Off,
    On(SocketAddr),
}

/// Everything that the files said so far. Scalars hold the last value, lists all items.
#[derive(Debug, Default)]
pub struct Draft {
    pub interfaces: Vec<At<String>>,
    pub mode: Option<At<Mode>>,
    pub attach: Option<At<AttachPreference>>,
    pub database: Option<At<String>>,
    pub asn_database: Option<PathBuf>,
    pub keep: Option<At<u32>>,
    pub canaries: BTreeMap<IpAddr, CountryCode>,
    pub update_source: Option<String>,
    pub update_checksum: Option<String>,
    pub update_minisign_key: Option<String>,
    pub update_max_megabytes: Option<At<u32>>,
    pub database_country: Option<At<CountryCode>>,
    pub default: Option<At<ActionWord>>,
    pub unknown: Option<At<ActionWord>>,
    pub private: Option<At<ActionWord>>,
    pub countries: BTreeMap<CountryCode, At<ActionWord>>,
    pub limits: BTreeMap<String, LimitDraft>,
    pub protect_tcp: Vec<(u16, u16)>,
    pub protect_udp: Vec<(u16, u16)>,
    pub protect_protocols: Vec<u8>,
    pub protect_destinations: Vec<At<IpNetwork>>,
    pub trusted: Vec<At<IpNetwork>>,
    pub allow: Vec<At<IpNetwork>>,
    pub deny: Vec<At<IpNetwork>>,
    pub replies_enabled: Option<At<bool>>,
    pub replies_attach: Option<At<TrackerPreference>>,
    /// Seconds, by key.
    pub reply_timeouts: BTreeMap<&'static str, At<u32>>,
    pub socket: Option<PathBuf>,
    pub state: Option<PathBuf>,
    pub pins: Option<PathBuf>,
    pub listen: Option<At<Listen>>,
    pub allow_remote: Option<At<bool>>,
    pub dashboard_enabled: Option<At<bool>>,
    pub dashboard_listen: Option<At<SocketAddr>>,
    pub dashboard_host_names: Vec<String>,
    /// By key.
    pub dashboard_files: BTreeMap<&'static str, At<PathBuf>>,
    pub history_enabled: Option<At<bool>>,
    /// By key: days, and millions of bytes.
    pub history_limits: BTreeMap<&'static str, At<u32>>,
}

const TOP_LEVEL: [&str; 14] = [
    "interfaces",
    "mode",
    "attach",
    "geo",
    "policy",
    "limits",
    "protect",
    "trusted",
    "rules",
    "replies",
    "paths",
    "metrics",
    "dashboard",
    "history",
];

const GEO_KEYS: [&str; 6] = [
    "database",
    "country",
    "asn_database",
    "keep",
    "canaries",
    "update",
];

const DASHBOARD_KEYS: [&str; 6] = [
    "enabled",
    "listen",
    "host_names",
    "tls_certificate",
    "tls_key",
    "token_file",
];

const HISTORY_KEYS: [&str; 4] = [
    "enabled",
    "keep_minutes_days",
    "keep_hours_days",
    "max_megabytes",
];

pub(super) const REPLY_KEYS: [&str; 9] = [
    "enabled",
    "attach",
    "tcp_syn_sent_seconds",
    "tcp_established_seconds",
    "tcp_fin_seconds",
    "tcp_reset_seconds",
    "udp_seconds",
    "udp_stream_seconds",
    "icmp_echo_seconds",
];

/// Ten years.
const MAX_KEPT_DAYS: u32 = 3653;
/// A year.
const MAX_TIMEOUT_SECONDS: u32 = 365 * 24 * 60 * 60;

impl Draft {
    /// Reads one file over what earlier files said.
    pub fn read(&mut self, root: &DeTable<'_>, reader: &mut Reader<'_>) {
        for (key, value) in root.iter() {
            match key.get_ref().as_ref() {
                "interfaces" => self.read_interfaces(value, reader),
                "mode" => {
                    let choices = [("observe", Mode::Observe), ("enforce", Mode::Enforce)];
                    replace(&mut self.mode, reader.choice("mode", value, &choices));
                }
                "attach" => {
                    let choices = [
                        ("auto", AttachPreference::Auto),
                        ("native", AttachPreference::Native),
                        ("generic", AttachPreference::Generic),
                    ];
                    replace(&mut self.attach, reader.choice("attach", value, &choices));
                }
                "geo" => self.read_geo(value, reader),
                "policy" => self.read_policy(value, reader),
                "limits" => self.read_limits(value, reader),
                "protect" => self.read_protect(value, reader),
                "trusted" => each_key("trusted", value, reader, |name, _, value, reader| {
                    match name {
                        "prefixes" => self
                            .trusted
                            .extend(reader.prefixes("trusted.prefixes", value)),
                        _ => return Err(&["prefixes"]),
                    }
                    Ok(())
                }),
                "rules" => each_key("rules", value, reader, |name, _, value, reader| {
                    match name {
                        "allow" => self.allow.extend(reader.prefixes("rules.allow", value)),
                        "deny" => self.deny.extend(reader.prefixes("rules.deny", value)),
                        _ => return Err(&["allow", "deny"]),
                    }
                    Ok(())
                }),
                "replies" => self.read_replies(value, reader),
                "paths" => self.read_paths(value, reader),
                "metrics" => self.read_metrics(value, reader),
                "dashboard" => self.read_dashboard(value, reader),
                "history" => self.read_history(value, reader),
                unknown => reader.unknown_key("", unknown, key, &TOP_LEVEL),
            }
        }
    }

    fn read_interfaces(&mut self, value: &Value<'_>, reader: &mut Reader<'_>) {
        let items = match value.get_ref().as_str() {
            Some(_) => vec![value],
            None => reader.list("interfaces", value, "interface names, or \"auto\""),
        };
        for item in items {
            let expected = "an interface name like \"eth0\", or \"auto\"";
            let Some(name) = reader.string("interfaces", item, expected) else {
                continue;
            };
            // The kernel's rule (dev_valid_name): IFNAMSIZ is 16 with its final zero.
            let valid = (1..=15).contains(&name.len())
                && !name.contains(|c: char| c == '/' || c == ':' || c.is_whitespace())
                && name != "."
                && name != "..";
            let place = reader.place(item);
            if !valid {
                let title = format!("interfaces: \"{name}\" cannot be the name of an interface");
                reader.report.error(
                    place,
                    title,
                    "must be 1 to 15 bytes without blanks, `/` and `:`; `ip -br link` lists them",
                );
            } else if self.interfaces.iter().any(|other| other.value == name) {
                let title = format!("interfaces: \"{name}\" is named twice");
                reader.report.error(place, title, "remove one of the two");
            } else {
                self.interfaces.push(reader.at(name.to_owned(), item));
            }
        }
    }

    fn read_geo(&mut self, value: &Value<'_>, reader: &mut Reader<'_>) {
        each_key("geo", value, reader, |name, _, value, reader| {
            match name {
                "database" => {
                    let expected = "\"builtin\" or the path of a database";
                    if let Some(text) = reader.string("geo.database", value, expected) {
                        self.database = Some(reader.at(text.to_owned(), value));
                    }
                }
                "asn_database" => {
                    let path = absolute(reader, "geo.asn_database", value);
                    replace(&mut self.asn_database, path);
                }
                "country" => {
                    let country = country(reader, "geo.country", value);
                    replace(&mut self.database_country, country);
                }
                "keep" => replace(&mut self.keep, reader.integer("geo.keep", value, 1..=100)),
                "canaries" => self.read_canaries(value, reader),
                "update" => self.read_update(value, reader),
                _ => return Err(&GEO_KEYS),
            }
            Ok(())
        });
    }

    fn read_update(&mut self, value: &Value<'_>, reader: &mut Reader<'_>) {
        each_key("geo.update", value, reader, |name, _, value, reader| {
            let key = format!("geo.update.{name}");
            let (slot, expected) = match name {
                "source" => (
                    &mut self.update_source,
                    "\"dbip-lite\", \"maxmind\", an https:// URL or an absolute path",
                ),
                "checksum" => (&mut self.update_checksum, "an https:// URL"),
                "minisign_key" => (&mut self.update_minisign_key, "a public key of minisign"),
                "max_megabytes" => {
                    let number = reader.integer(&key, value, 1..=1024);
                    replace(&mut self.update_max_megabytes, number);
                    return Ok(());
                }
                _ => return Err(&["source", "checksum", "minisign_key", "max_megabytes"]),
            };
            if let Some(text) = reader.string(&key, value, expected) {
                *slot = Some(text.to_owned());
            }
            Ok(())
        });
    }

    fn read_canaries(&mut self, value: &Value<'_>, reader: &mut Reader<'_>) {
        let Some(table) = reader.table("geo.canaries", value) else {
            return;
        };
        for (key, value) in table.iter() {
            let name = format!("geo.canaries.\"{}\"", key.get_ref());
            let country = country(reader, &name, value);
            match key.get_ref().parse::<IpAddr>() {
                Ok(address) => {
                    let country = country.map(|at| (address.to_canonical(), at.value));
                    self.canaries.extend(country);
                }
                Err(_) => {
                    let place = reader.place(key);
                    let title = format!("geo.canaries: \"{}\" is no address", key.get_ref());
                    let label = "must be like \"192.0.2.7\" = \"MO\"";
                    reader.report.error(place, title, label);
                }
            }
        }
    }

    fn read_policy(&mut self, value: &Value<'_>, reader: &mut Reader<'_>) {
        each_key("policy", value, reader, |name, _, value, reader| {
            match name {
                "default" => replace(&mut self.default, action(reader, "policy.default", value)),
                "unknown" => replace(&mut self.unknown, action(reader, "policy.unknown", value)),
                "private" => replace(&mut self.private, action(reader, "policy.private", value)),
                "countries" => self.read_countries(value, reader),
                _ => return Err(&["default", "unknown", "private", "countries"]),
            }
            Ok(())
        });
    }

    fn read_countries(&mut self, value: &Value<'_>, reader: &mut Reader<'_>) {
        let Some(table) = reader.table("policy.countries", value) else {
            return;
        };
        for (key, value) in table.iter() {
            let place = reader.place(key);
            let name = format!("policy.countries.{}", key.get_ref());
            let action = action(reader, &name, value);
            let code = match countries::parse(key.get_ref()) {
                Ok(code) => code,
                Err(unknown) => {
                    let title = format!("policy.countries: {unknown}");
                    let label = "`cerco countries --list` prints all codes";
                    reader.report.error(place, title, label);
                    continue;
                }
            };
            let twice = self
                .countries
                .get(&code)
                .is_some_and(|earlier| earlier.place.file == reader.file);
            if twice {
                let title = format!("policy.countries: {code} is named twice in this file");
                reader.report.error(place, title, "remove one of the two");
            } else if let Some(action) = action {
                self.countries.insert(code, action);
            }
        }
    }

    fn read_limits(&mut self, value: &Value<'_>, reader: &mut Reader<'_>) {
        let Some(table) = reader.table("limits", value) else {
            return;
        };
        for (key, value) in table.iter() {
            let name = key.get_ref();
            let section = format!("limits.{name}");
            let limit = self.limits.entry(name.to_string()).or_default();
            limit.place = Some(reader.place(key));
            each_key(&section, value, reader, |name, _, value, reader| {
                let key = format!("{section}.{name}");
                let (slot, range) = match name {
                    "packets_per_second" => (&mut limit.packets_per_second, 1..=1_000_000),
                    "burst_packets" => (&mut limit.burst_packets, 1..=u32::MAX),
                    "new_connections_per_second" => {
                        (&mut limit.new_connections_per_second, 1..=1_000_000)
                    }
                    "burst_connections" => (&mut limit.burst_connections, 1..=u32::MAX),
                    "ipv4_prefix_len" => (&mut limit.ipv4_prefix_len, 8..=32),
                    "ipv6_prefix_len" => (&mut limit.ipv6_prefix_len, 16..=64),
                    _ => {
                        return Err(&[
                            "packets_per_second",
                            "burst_packets",
                            "new_connections_per_second",
                            "burst_connections",
                            "ipv4_prefix_len",
                            "ipv6_prefix_len",
                        ]);
                    }
                };
                let number = reader.integer(&key, value, range);
                limit.faulty |= number.is_none();
                replace(slot, number);
                Ok(())
            });
        }
    }

    fn read_protect(&mut self, value: &Value<'_>, reader: &mut Reader<'_>) {
        each_key("protect", value, reader, |name, _, value, reader| {
            match name {
                "tcp" => self.protect_tcp.extend(reader.ports("protect.tcp", value)),
                "udp" => self.protect_udp.extend(reader.ports("protect.udp", value)),
                "protocols" => self.protect_protocols.extend(protocols(reader, value)),
                "destinations" => self
                    .protect_destinations
                    .extend(reader.prefixes("protect.destinations", value)),
                _ => return Err(&["tcp", "udp", "protocols", "destinations"]),
            }
            Ok(())
        });
    }

    fn read_replies(&mut self, value: &Value<'_>, reader: &mut Reader<'_>) {
        each_key("replies", value, reader, |name, _, value, reader| {
            if name == "enabled" {
                let flag = reader.boolean("replies.enabled", value);
                replace(&mut self.replies_enabled, flag);
                return Ok(());
            }
            if name == "attach" {
                let choices = [
                    ("auto", TrackerPreference::Auto),
                    ("clsact", TrackerPreference::Clsact),
                ];
                let attach = reader.choice("replies.attach", value, &choices);
                replace(&mut self.replies_attach, attach);
                return Ok(());
            }
            let Some(key) = REPLY_KEYS[2..].iter().find(|key| **key == name) else {
                return Err(&REPLY_KEYS);
            };
            let range = 1..=MAX_TIMEOUT_SECONDS;
            if let Some(seconds) = reader.integer(&format!("replies.{key}"), value, range) {
                self.reply_timeouts.insert(key, seconds);
            }
            Ok(())
        });
    }

    fn read_paths(&mut self, value: &Value<'_>, reader: &mut Reader<'_>) {
        each_key("paths", value, reader, |name, _, value, reader| {
            let key = format!("paths.{name}");
            let slot = match name {
                "socket" => &mut self.socket,
                "state" => &mut self.state,
                "pins" => &mut self.pins,
                _ => return Err(&["socket", "state", "pins"]),
            };
            replace(slot, absolute(reader, &key, value));
            Ok(())
        });
    }

    fn read_metrics(&mut self, value: &Value<'_>, reader: &mut Reader<'_>) {
        each_key("metrics", value, reader, |name, _, value, reader| {
            match name {
                "listen" => {
                    let expected = "an address with port like \"127.0.0.1:9273\", or \"off\"";
                    match reader.string("metrics.listen", value, expected) {
                        Some("off") => self.listen = Some(reader.at(Listen::Off, value)),
                        Some(text) => match text.parse() {
                            Ok(address) => {
                                self.listen = Some(reader.at(Listen::On(address), value));
                            }
                            Err(_) => reader.wrong_type("metrics.listen", value, expected),
                        },
                        None => {}
                    }
                }
                "allow_remote" => {
                    let flag = reader.boolean("metrics.allow_remote", value);
                    replace(&mut self.allow_remote, flag);
                }
                _ => return Err(&["listen", "allow_remote"]),
            }
            Ok(())
        });
    }

    fn read_dashboard(&mut self, value: &Value<'_>, reader: &mut Reader<'_>) {
        each_key("dashboard", value, reader, |name, _, value, reader| {
            let key = format!("dashboard.{name}");
            match name {
                "enabled" => replace(&mut self.dashboard_enabled, reader.boolean(&key, value)),
                "listen" => {
                    let expected = "an address with port like \"127.0.0.1:9843\"";
                    match reader.string(&key, value, expected).map(str::parse) {
                        Some(Ok(address)) => {
                            self.dashboard_listen = Some(reader.at(address, value));
                        }
                        Some(Err(_)) => reader.wrong_type(&key, value, expected),
                        None => {}
                    }
                }
                "host_names" => self.dashboard_host_names.extend(host_names(reader, value)),
                "tls_certificate" | "tls_key" | "token_file" => {
                    let expected = "an absolute path";
                    let known = DASHBOARD_KEYS.into_iter().find(|key| *key == name);
                    match (known, reader.string(&key, value, expected)) {
                        (Some(known), Some(text)) if text.starts_with('/') => {
                            let path = reader.at(PathBuf::from(text), value);
                            self.dashboard_files.insert(known, path);
                        }
                        (_, Some(_)) => reader.wrong_type(&key, value, expected),
                        (_, None) => {}
                    }
                }
                _ => return Err(&DASHBOARD_KEYS),
            }
            Ok(())
        });
    }

    fn read_history(&mut self, value: &Value<'_>, reader: &mut Reader<'_>) {
        each_key("history", value, reader, |name, _, value, reader| {
            let key = format!("history.{name}");
            let range = match name {
                "enabled" => {
                    replace(&mut self.history_enabled, reader.boolean(&key, value));
                    return Ok(());
                }
                "keep_minutes_days" => 1..=MAX_KEPT_DAYS,
                "keep_hours_days" => 1..=MAX_KEPT_DAYS,
                "max_megabytes" => 8..=1_000_000,
                _ => return Err(&HISTORY_KEYS),
            };
            let known = HISTORY_KEYS.into_iter().find(|key| *key == name);
            if let (Some(known), Some(number)) = (known, reader.integer(&key, value, range)) {
                self.history_limits.insert(known, number);
            }
            Ok(())
        });
    }
}

/// Names by which a browser may call the dashboard, without ports.
fn host_names(reader: &mut Reader<'_>, value: &Value<'_>) -> Vec<String> {
    let key = "dashboard.host_names";
    let expected = "the name of a host like \"cerco.example.org\", or its address";
    let items = reader.list(key, value, "names of hosts");
    let mut names = Vec::new();
    for item in items {
        let Some(text) = reader.string(key, item, expected) else {
            continue;
        };
        let is_name = !text.is_empty()
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
        if is_name || text.parse::<IpAddr>().is_ok() {
            names.push(text.to_ascii_lowercase());
        } else {
            reader.wrong_type(key, item, expected);
        }
    }
    names
}

/// A value that was refused does not erase the one of an earlier file.
fn replace<T>(slot: &mut Option<T>, value: Option<T>) {
    if value.is_some() {
        *slot = value;
    }
}

/// Calls `read` for each key of a section; `read` returns the known keys when it knows no such key.
fn each_key<'k>(
    section: &str,
    value: &Value<'_>,
    reader: &mut Reader<'_>,
    mut read: impl FnMut(
        &str,
        &Spanned<std::borrow::Cow<'_, str>>,
        &Value<'_>,
        &mut Reader<'_>,
    ) -> Result<(), &'k [&'k str]>,
) {
    let Some(table) = reader.table(section, value) else {
        return;
    };
    for (key, value) in table.iter() {
        if let Err(known) = read(key.get_ref(), key, value, reader) {
            reader.unknown_key(section, key.get_ref(), key, known);
        }
    }
}

fn country(reader: &mut Reader<'_>, key: &str, value: &Value<'_>) -> Option<At<CountryCode>> {
    let text = reader.string(key, value, "a country code like \"MO\"")?;
    match countries::parse(text) {
        Ok(code) => Some(reader.at(code, value)),
        Err(unknown) => {
            let place = reader.place(value);
            let label = "`cerco countries --list` prints all codes";
            reader
                .report
                .error(place, format!("{key}: {unknown}"), label);
            None
        }
    }
}

fn action(reader: &mut Reader<'_>, key: &str, value: &Value<'_>) -> Option<At<ActionWord>> {
    let expected = "\"allow\", \"deny\" or \"allow:NAME\" with a NAME of [limits]";
    let text = reader.string(key, value, expected)?;
    let action = match text.split_once(':') {
        None if text == "allow" => ActionWord::Allow,
        None if text == "deny" => ActionWord::Deny,
        Some(("allow", name)) if !name.is_empty() => ActionWord::AllowWithin(name.to_owned()),
        _ => {
            let place = reader.place(value);
            let title = format!("{key}: unknown action \"{text}\"");
            reader.report.push(
                Severity::Error,
                Some(place),
                title,
                format!("must be {expected}"),
                None,
            );
            return None;
        }
    };
    Some(reader.at(action, value))
}

fn absolute(reader: &mut Reader<'_>, key: &str, value: &Value<'_>) -> Option<PathBuf> {
    let expected = "an absolute path";
    let text = reader.string(key, value, expected)?;
    if !text.starts_with('/') {
        reader.wrong_type(key, value, expected);
        return None;
    }
    Some(PathBuf::from(text))
}

fn protocols(reader: &mut Reader<'_>, value: &Value<'_>) -> Vec<u8> {
    let key = "protect.protocols";
    let items = reader.list(key, value, "protocol names like \"icmp\", or numbers");
    items
        .into_iter()
        .filter_map(|item| {
            if item.get_ref().is_integer() {
                return reader
                    .integer(key, item, 0..=255)
                    .and_then(|number| u8::try_from(number.value).ok());
            }
            reader
                .choice(key, item, &crate::protocols::NAMES)
                .map(|at| at.value)
        })
        .collect()
}
