//! A config as lines: a key with its value, or with one of its values.

use serde_json::{Value, json};

use crate::{
    config::{Config, DatabaseSource, Interfaces, Paths},
    control::configured::{Form, Kind},
    dashboard::{DashboardConfig, TlsFiles},
    history::{DAY, HistoryConfig},
    kernel::{AttachPreference, FlowTimeouts, Replies, TrackerPreference},
    policy::{Limit, Policy, Scope},
};

/// A key with its value, or with one of its values.
pub struct Line {
    pub kind: Kind,
    pub form: Form,
    pub key: String,
    pub value: Value,
}

pub fn source(config: &Config) -> Value {
    match &config.database {
        DatabaseSource::Builtin => json!("builtin"),
        DatabaseSource::File(path) => json!(path),
    }
}

/// All of `config` but the mode, which the runtime may set, and what only `cerco geo update` and `cerco report` read.
pub fn lines(config: &Config) -> Vec<Line> {
    let Config {
        interfaces,
        mode: _,
        attach,
        database: _,
        database_country,
        asn_database: _,
        keep_databases,
        canaries,
        update: _,
        policy,
        paths,
        replies,
        metrics,
        dashboard,
        history,
    } = config;
    let mut lines = Lines(Vec::new());
    match interfaces {
        Interfaces::Auto => lines.item(Kind::Restart, "interfaces", json!("auto")),
        Interfaces::Named(names) => {
            for name in names {
                lines.item(Kind::Restart, "interfaces", json!(name));
            }
        }
    }
    let attach = match attach {
        AttachPreference::Auto => "auto",
        AttachPreference::Native => "native",
        AttachPreference::Generic => "generic",
    };
    lines.restart("attach", json!(attach));
    lines.set("geo.database", source(config));
    if let Some(country) = database_country {
        lines.set("geo.country", json!(country.as_str()));
    }
    lines.set("geo.keep", json!(keep_databases));
    for (address, country) in canaries {
        lines.set(
            &format!("geo.canaries.\"{address}\""),
            json!(country.as_str()),
        );
    }
    lines.policy(policy);
    let Paths {
        socket,
        state,
        pins,
    } = paths;
    lines.restart("paths.socket", json!(socket));
    lines.restart("paths.state", json!(state));
    lines.restart("paths.pins", json!(pins));
    lines.replies(replies);
    let listen = metrics.map_or("off".to_owned(), |address| address.to_string());
    lines.restart("metrics.listen", json!(listen));
    lines.dashboard(dashboard);
    let HistoryConfig {
        enabled,
        keep_minutes,
        keep_hours,
        max_bytes,
    } = history;
    lines.restart("history.enabled", json!(enabled));
    lines.restart("history.keep_minutes_days", json!(keep_minutes / DAY));
    lines.restart("history.keep_hours_days", json!(keep_hours / DAY));
    lines.restart("history.max_megabytes", json!(max_bytes / 1_000_000));
    lines.0
}

struct Lines(Vec<Line>);

impl Lines {
    fn set(&mut self, key: &str, value: Value) {
        self.push(Kind::Reload, Form::Setting, key, value);
    }

    fn restart(&mut self, key: &str, value: Value) {
        self.push(Kind::Restart, Form::Setting, key, value);
    }

    fn item(&mut self, kind: Kind, key: &str, value: Value) {
        self.push(kind, Form::Item, key, value);
    }

    fn push(&mut self, kind: Kind, form: Form, key: &str, value: Value) {
        self.0.push(Line {
            kind,
            form,
            key: key.to_owned(),
            value,
        });
    }

    fn dashboard(&mut self, dashboard: &DashboardConfig) {
        let DashboardConfig {
            enabled,
            listen,
            host_names,
            tls,
            token_file,
        } = dashboard;
        self.restart("dashboard.enabled", json!(enabled));
        self.restart("dashboard.listen", json!(listen));
        for name in host_names {
            self.item(Kind::Restart, "dashboard.host_names", json!(name));
        }
        if let Some(TlsFiles { certificate, key }) = tls {
            self.restart("dashboard.tls_certificate", json!(certificate));
            self.restart("dashboard.tls_key", json!(key));
        }
        if let Some(token_file) = token_file {
            self.restart("dashboard.token_file", json!(token_file));
        }
    }

    fn policy(&mut self, policy: &Policy) {
        let Policy {
            default,
            unknown,
            private,
            countries,
            limits,
            scope,
            trusted,
            allow,
            deny,
            // No config has any.
            exceptions: _,
        } = policy;
        for (key, action) in [
            ("default", default),
            ("unknown", unknown),
            ("private", private),
        ] {
            self.set(&format!("policy.{key}"), json!(policy.action_word(*action)));
        }
        for (code, action) in countries {
            let word = policy.action_word(*action);
            self.set(&format!("policy.countries.{code}"), json!(word));
        }
        limits.iter().for_each(|limit| self.limit(limit));
        self.scope(scope);
        for (key, prefixes) in [
            ("trusted.prefixes", trusted),
            ("rules.allow", allow),
            ("rules.deny", deny),
        ] {
            for prefix in prefixes {
                self.item(Kind::Reload, key, json!(prefix));
            }
        }
    }

    fn limit(&mut self, limit: &Limit) {
        let Limit {
            name,
            packets_per_second,
            burst_packets,
            new_connections_per_second,
            burst_connections,
            ipv4_prefix_len,
            ipv6_prefix_len,
        } = limit;
        let mut set = |key: &str, value: Option<u32>| {
            if let Some(value) = value {
                self.set(&format!("limits.{name}.{key}"), json!(value));
            }
        };
        set("packets_per_second", *packets_per_second);
        set("burst_packets", packets_per_second.map(|_| *burst_packets));
        set("new_connections_per_second", *new_connections_per_second);
        let connections = new_connections_per_second.map(|_| *burst_connections);
        set("burst_connections", connections);
        set("ipv4_prefix_len", Some((*ipv4_prefix_len).into()));
        set("ipv6_prefix_len", Some((*ipv6_prefix_len).into()));
    }

    fn scope(&mut self, scope: &Scope) {
        let Scope {
            tcp,
            udp,
            protocols,
            destinations,
        } = scope;
        for (key, ranges) in [("protect.tcp", tcp), ("protect.udp", udp)] {
            for (first, last) in ranges {
                let range = match first == last {
                    true => json!(first),
                    false => json!(format!("{first}-{last}")),
                };
                self.item(Kind::Reload, key, range);
            }
        }
        for protocol in protocols {
            self.item(Kind::Reload, "protect.protocols", json!(protocol));
        }
        for prefix in destinations {
            self.item(Kind::Reload, "protect.destinations", json!(prefix));
        }
    }

    fn replies(&mut self, replies: &Replies) {
        let Replies {
            enabled,
            attach,
            timeouts,
        } = replies;
        let FlowTimeouts {
            tcp_syn_sent,
            tcp_established,
            tcp_fin,
            tcp_reset,
            udp,
            udp_stream,
            icmp_echo,
        } = timeouts;
        self.restart("replies.enabled", json!(enabled));
        let attach = match attach {
            TrackerPreference::Auto => "auto",
            TrackerPreference::Clsact => "clsact",
        };
        self.restart("replies.attach", json!(attach));
        for (key, seconds) in [
            ("tcp_syn_sent", tcp_syn_sent),
            ("tcp_established", tcp_established),
            ("tcp_fin", tcp_fin),
            ("tcp_reset", tcp_reset),
            ("udp", udp),
            ("udp_stream", udp_stream),
            ("icmp_echo", icmp_echo),
        ] {
            self.set(&format!("replies.{key}_seconds"), json!(seconds));
        }
    }
}
