//! The interfaces behind `interfaces = "auto"`.

use std::{fs, io};

/// RTF_UP and RTF_REJECT of `linux/route.h`.
const RTF_UP: u32 = 0x0001;
const RTF_REJECT: u32 = 0x0200;

#[derive(Debug, thiserror::Error)]
pub enum InterfacesError {
    #[error("failed to read {path}: {source}")]
    Read {
        path: &'static str,
        source: io::Error,
    },
    #[error(
        "interfaces = \"auto\": no interface has a default route; write the names instead, as in \
         interfaces = [\"eth0\"]"
    )]
    NoDefaultRoute,
}

/// The interfaces of the default routes of both families, sorted.
pub fn with_default_route() -> Result<Vec<String>, InterfacesError> {
    let read = |path: &'static str| match fs::read_to_string(path) {
        Ok(text) => Ok(text),
        // A kernel without IPv6 has no such file.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(source) => Err(InterfacesError::Read { path, source }),
    };
    let mut names = v4_default_routes(&read("/proc/net/route")?);
    names.extend(v6_default_routes(&read("/proc/net/ipv6_route")?));
    names.sort();
    names.dedup();
    if names.is_empty() {
        return Err(InterfacesError::NoDefaultRoute);
    }
    Ok(names)
}

/// Columns: Iface Destination Gateway Flags RefCnt Use Metric Mask …, numbers in hex.
fn v4_default_routes(table: &str) -> Vec<String> {
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let columns: Vec<&str> = line.split_ascii_whitespace().collect();
            let flags = u32::from_str_radix(columns.get(3)?, 16).ok()?;
            let is_default = columns.get(1)? == &"00000000" && columns.get(7)? == &"00000000";
            (is_default && usable(flags)).then(|| columns[0].to_owned())
        })
        .collect()
}

/// Columns: destination, its length, source, its length, next hop, metric, refcount, use, flags, device.
fn v6_default_routes(table: &str) -> Vec<String> {
    table
        .lines()
        .filter_map(|line| {
            let columns: Vec<&str> = line.split_ascii_whitespace().collect();
            let flags = u32::from_str_radix(columns.get(8)?, 16).ok()?;
            let is_default =
                columns.get(1)? == &"00" && columns[0].bytes().all(|byte| byte == b'0');
            (is_default && usable(flags)).then(|| columns.get(9).map(|name| (*name).to_owned()))?
        })
        .collect()
}

/// The kernel keeps an unreachable IPv6 default route on `lo`; its flags say so.
fn usable(flags: u32) -> bool {
    flags & RTF_UP != 0 && flags & RTF_REJECT == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_routes_are_found_and_the_reject_route_is_not() {
        let v4 = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
                  eth0\t00000000\t0102A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
                  eth1\t0002A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";
        assert_eq!(v4_default_routes(v4), ["eth0"]);
        let zero = "0".repeat(32);
        let v6 = format!(
            "{zero} 00 {zero} 00 fe800000000000000000000000000001 00000400 00000001 00000000 00000003 wan0\n\
             {zero} 00 {zero} 00 {zero} ffffffff 00000001 00000000 00200201 lo\n\
             20010db8000000000000000000000000 20 {zero} 00 {zero} 00000100 00000001 00000000 00000001 eth1\n"
        );
        assert_eq!(v6_default_routes(&v6), ["wan0"]);
    }
}
