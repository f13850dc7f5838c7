//! The web server that tests and demo protect.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, bail};

use crate::{
    apt::{self, Package},
    setup, workspace,
};

/// Tells tests and demo where the server is.
pub const NGINX_VAR: &str = "CERCO_NGINX";

const PURPOSE: &str = "the web server that tests and demo protect";

/// The installed nginx, or else one that is unpacked below `tools`.
///
/// Unpacked rather than installed: the package would start a server on port 80 of this machine.
pub fn find_or_unpack(tools: &Path) -> Result<PathBuf> {
    if let Some(installed) = setup::system_program("nginx") {
        return Ok(installed);
    }
    let folder = tools.join("nginx");
    let server = folder.join("usr/sbin/nginx");
    if server.is_file() && missing_libraries(&server)?.is_empty() {
        return Ok(server);
    }
    unpack(&folder)?;
    if !server.is_file() {
        bail!("Debian's nginx packages hold no usr/sbin/nginx");
    }
    let missing = missing_libraries(&server)?;
    if !missing.is_empty() {
        bail!("{} lacks {}", server.display(), missing.join(", "));
    }
    Ok(server)
}

fn unpack(folder: &Path) -> Result<()> {
    if !apt::is_available() {
        bail!(
            "nginx is not installed ({PURPOSE}), and this system has no apt-get to fetch it with"
        );
    }
    if apt::candidate("nginx").is_none() {
        apt::update()?;
    }
    eprintln!(
        "setup: unpacking Debian's nginx into {} ({PURPOSE}; installing it would start it on port 80)",
        folder.display()
    );
    // Since Debian 12 the server itself is in `nginx`; before, it was in one of its flavours.
    let flavour = if apt::candidate("nginx-light").is_some() {
        "nginx-light"
    } else {
        "nginx"
    };
    let mut names = vec!["nginx"];
    names.extend((flavour != "nginx").then_some(flavour));
    let libraries = apt::unpack(&names, folder)?;
    let server = folder.join("usr/sbin/nginx");
    if server.is_file() && !missing_libraries(&server)?.is_empty() {
        let packages: Vec<Package> = libraries
            .into_iter()
            .map(|name| Package {
                name,
                purpose: "libraries of nginx; they start nothing",
            })
            .collect();
        apt::install(&packages)?;
    }
    Ok(())
}

/// The shared libraries that the loader does not find.
fn missing_libraries(program: &Path) -> Result<Vec<String>> {
    Ok(not_found(&workspace::output(
        Command::new("ldd").arg(program),
    )?))
}

fn not_found(ldd: &str) -> Vec<String> {
    ldd.lines()
        .filter_map(|line| line.trim().strip_suffix(" => not found"))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::not_found;

    #[test]
    fn missing_libraries_are_found_in_what_ldd_prints() {
        let listing = "\tlibssl.so.3 => not found\n\
                       \tlibz.so.1 => /lib/libz.so.1 (0x00007f)\n\
                       \tlibpcre2-8.so.0 => not found\n";
        assert_eq!(not_found(listing), ["libssl.so.3", "libpcre2-8.so.0"]);
    }
}
