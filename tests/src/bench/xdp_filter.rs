//! xdp-filter's program, as its own loader loads it.
//!
//! The loader runs in a mount namespace with a BPF file system of its own: it pins under a fixed
//! name, and a filter that this host uses must not be touched.

use std::{
    io,
    os::unix::process::CommandExt as _,
    process::{Command, Stdio},
    ptr,
};

use anyhow::{Context as _, Result, ensure};
use aya::programs::{ProgramFd, loaded_programs};
use serde::Deserialize;

use crate::{
    netns::NetNs,
    veth::{End, Veth},
};

const LINK: &str = "eth0";

/// The filter on a link of its own, which nobody sends to.
pub struct XdpFilter {
    program: ProgramFd,
    _veth: Veth,
}

#[derive(Deserialize)]
struct Link {
    xdp: Option<Attached>,
}

#[derive(Deserialize)]
struct Attached {
    prog: Attachment,
}

#[derive(Deserialize)]
struct Attachment {
    id: u32,
}

impl XdpFilter {
    /// Loads it with what it needs for addresses, and denying what is not listed; nothing is.
    pub fn load() -> Result<Self> {
        let (here, there) = (NetNs::new()?, NetNs::new()?);
        let end = |netns| End {
            netns,
            name: LINK,
            addresses: &[],
        };
        let veth = Veth::new(&end(&here), &end(&there), 1_500)?;
        let mut command = here.command("xdp-filter");
        command.args(["load", "--mode", "native", "--policy", "deny"]);
        command.args(["--features", "ipv4,ipv6", LINK]);
        // libxdp's dispatcher would call the program through one more program.
        command.env("LIBXDP_SKIP_DISPATCHER", "1");
        keep_pins_apart(&mut command);
        let output = command
            .stdin(Stdio::null())
            .output()
            .context("failed to start xdp-filter; Debian has it in the package xdp-tools")?;
        ensure!(
            output.status.success(),
            "xdp-filter does not load: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        let links: Vec<Link> =
            serde_json::from_str(&here.ip(&format!("-json link show dev {LINK}"))?)
                .context("failed to read what ip says about the link")?;
        let id = links
            .into_iter()
            .find_map(|link| Some(link.xdp?.prog.id))
            .context("xdp-filter did not attach its program")?;
        let program = loaded_programs()
            .find_map(|program| program.ok().filter(|program| program.id() == id))
            .context("xdp-filter's program is gone")?
            .fd()?;
        Ok(Self {
            program,
            _veth: veth,
        })
    }

    pub fn fd(&self) -> &ProgramFd {
        &self.program
    }
}

/// Gives the command a fresh BPF file system in the place of this host's.
fn keep_pins_apart(command: &mut Command) {
    // SAFETY: the calls are async-signal-safe, and their texts end in a zero byte.
    unsafe {
        command.pre_exec(|| {
            let private = libc::MS_REC | libc::MS_PRIVATE;
            let done = libc::unshare(libc::CLONE_NEWNS) == 0
                && libc::mount(
                    ptr::null(),
                    c"/".as_ptr(),
                    ptr::null(),
                    private,
                    ptr::null(),
                ) == 0
                && libc::mount(
                    c"bpf".as_ptr(),
                    c"/sys/fs/bpf".as_ptr(),
                    c"bpf".as_ptr(),
                    0,
                    ptr::null(),
                ) == 0;
            if done {
                Ok(())
            } else {
                Err(io::Error::last_os_error())
            }
        });
    }
}
