//! Prometheus, which scrapes the daemon of its namespace every second, and its `promtool`.

use crate::{
    daemon::Cerco,
    error::{Error, Result},
    http,
    netns::NetNs,
    poll,
    process::Process,
};
use serde_json::Value;
use std::{
    env,
    fmt::Write,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};
use tempfile::TempDir;

const READY_LIMIT: Duration = Duration::from_secs(30);
const ADDRESS: &str = "127.0.0.1:9090";

/// Where `name`, one of Prometheus's programs, is: in the folder `CERCO_PROMETHEUS`, where `cargo xtask setup`
/// unpacks them, or in `PATH`.
pub fn program(name: &str) -> Result<PathBuf> {
    let named = env::var_os("CERCO_PROMETHEUS").map(PathBuf::from);
    let own = env::current_exe().unwrap_or_default();
    let unpacked = own
        .ancestors()
        .map(|it| it.join("tools/prometheus/usr/bin"));
    let path = env::var_os("PATH").unwrap_or_default();
    named
        .into_iter()
        .chain(unpacked)
        .chain(env::split_paths(&path))
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
        .ok_or_else(|| {
            Error::os(
                format!("find {name} (`cargo xtask setup` unpacks it)"),
                io::ErrorKind::NotFound.into(),
            )
        })
}

/// A running server.
#[derive(Debug)]
pub struct Prometheus {
    netns: NetNs,
    process: Process,
    _directory: TempDir,
}

impl Prometheus {
    /// Starts a server with the alert rules of the file `rules` and waits until it answers.
    pub fn start(netns: &NetNs, rules: &Path) -> Result<Self> {
        let directory = TempDir::with_prefix("cerco-prometheus-")
            .map_err(|source| Error::os("make a temporary directory", source))?;
        let config = directory.path().join("prometheus.yml");
        let text = format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\n\
             rule_files: ['{}']\n\
             scrape_configs:\n\
             - job_name: cerco\n  static_configs: [{{targets: ['{}']}}]\n",
            rules.display(),
            Cerco::METRICS
        );
        fs::write(&config, text)
            .map_err(|source| Error::os(format!("write {}", config.display()), source))?;
        let mut command = netns.command(program("prometheus")?);
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                directory.path().display()
            ))
            .arg(format!("--web.listen-address={ADDRESS}"));
        let mut server = Self {
            netns: netns.clone(),
            process: Process::spawn(&mut command)?,
            _directory: directory,
        };
        let ready = poll::until("see Prometheus ready", READY_LIMIT, || {
            let answer = http::ask(netns, ADDRESS, "GET /-/ready HTTP/1.0", "");
            let answers = answer.is_ok_and(|it| it.head.contains(" 200 "));
            (answers || server.process.exited().is_some()).then_some(())
        });
        match (ready, server.process.exited()) {
            (Ok(()), None) => Ok(server),
            _ => Err(Error::Deadline {
                op: "see Prometheus ready".into(),
                waited: READY_LIMIT,
                output: server.process.output(),
            }),
        }
    }

    /// What the API says at `path`, below `/api/v1/`.
    pub fn api(&self, path: &str) -> Result<Value> {
        let request = format!("GET /api/v1/{path} HTTP/1.0");
        let answer = http::ask(&self.netns, ADDRESS, &request, "")?;
        let value: Value = serde_json::from_str(&answer.body)
            .map_err(|source| Error::os(request.clone(), source.into()))?;
        match value["status"].as_str() {
            Some("success") => Ok(value["data"].clone()),
            _ => Err(Error::os(request, io::Error::other(answer.body))),
        }
    }

    /// The series that `expression` gives now.
    pub fn query(&self, expression: &str) -> Result<Vec<Value>> {
        let data = self.api(&format!("query?query={}", encoded(expression)))?;
        Ok(data["result"].as_array().cloned().unwrap_or_default())
    }
}

/// Percent-encoded, RFC 3986 §2.1.
fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte.is_ascii_alphanumeric() {
            true => encoded.push(byte.into()),
            false => write!(encoded, "%{byte:02X}").expect("invariant: a String takes everything"),
        }
    }
    encoded
}
