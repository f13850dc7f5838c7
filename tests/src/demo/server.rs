//! The health-code server: nginx, as Debian ships it, with one worker.

use super::topology::{HOST_V4, HOST_V6, HTTP_PORT};
use crate::{netns::NetNs, poll, process::Process};
use anyhow::{Context, Result};
use std::{
    env, fs,
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    time::Duration,
};
use tempfile::TempDir;

pub const PATH: &str = "/health-code";
/// What a served request gets.
pub const BODY: &str = r#"{"code":"green","issued_by":"Macau"}"#;

const START_LIMIT: Duration = Duration::from_secs(10);

/// A running nginx.
#[derive(Debug)]
pub struct Server {
    process: Process,
    _directory: TempDir,
}

/// `CERCO_NGINX`, or the first nginx in `PATH` or where Debian has it.
pub fn nginx_binary() -> Option<PathBuf> {
    if let Some(path) = env::var_os("CERCO_NGINX") {
        return Some(path.into());
    }
    // A user's PATH on Debian has no sbin.
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin")])
        .map(|directory| directory.join("nginx"))
        .find(|candidate| candidate.is_file())
}

impl Server {
    /// Starts nginx on port 80 of both families and waits until both answer.
    pub fn start(netns: &NetNs) -> Result<Self> {
        let binary = nginx_binary().context("failed to find nginx")?;
        let directory = TempDir::with_prefix("cerco-demo-nginx-")
            .context("failed to make a directory for nginx")?;
        let config = directory.path().join("nginx.conf");
        fs::write(&config, config_text()).context("failed to write the configuration of nginx")?;
        let mut command = netns.command(binary);
        command
            .arg("-p")
            .arg(directory.path())
            .arg("-c")
            .arg(&config)
            .args(["-e", "stderr"]);
        let process = Process::spawn(&mut command)?;
        for address in [
            SocketAddr::from((HOST_V4, HTTP_PORT)),
            SocketAddr::from((HOST_V6, HTTP_PORT)),
        ] {
            netns
                .run(|| {
                    poll::until("reach nginx", START_LIMIT, || {
                        TcpStream::connect_timeout(&address, START_LIMIT).ok()
                    })
                })?
                .with_context(|| format!("nginx does not listen: {}", process.output()))?;
        }
        Ok(Self {
            process,
            _directory: directory,
        })
    }

    /// The pid of the master process.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }
}

fn config_text() -> String {
    // `user root`: the worker must enter the temporary directory, which only its maker may.
    // 768 connections is what Debian's own nginx.conf has.
    format!(
        "daemon off;\n\
         user root;\n\
         worker_processes 1;\n\
         pid nginx.pid;\n\
         error_log stderr crit;\n\
         events {{ worker_connections 768; }}\n\
         http {{\n\
           access_log off;\n\
           default_type application/json;\n\
           client_body_temp_path body;\n\
           proxy_temp_path proxy;\n\
           fastcgi_temp_path fastcgi;\n\
           uwsgi_temp_path uwsgi;\n\
           scgi_temp_path scgi;\n\
           server {{\n\
             listen {HTTP_PORT};\n\
             listen [::]:{HTTP_PORT} ipv6only=on;\n\
             location = {PATH} {{ return 200 '{BODY}'; }}\n\
             location / {{ return 404; }}\n\
           }}\n\
         }}\n"
    )
}
