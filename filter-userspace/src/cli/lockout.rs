//! Keeps the sysadmin from locking out the SSH session in which the command is typed.

use std::{fs, net::IpAddr};

use super::{Context, Failure};
use crate::control::{
    protocol::{ModeWord, PacketKind, Request, Target},
    reply::Explanation,
};

/// How far up the process tree to look: sudo, su, a shell in a multiplexer in a shell.
const MAX_ANCESTORS: usize = 16;

/// The far end of the SSH session and the local port, if this is one.
pub fn ssh_peer() -> Option<(IpAddr, u16)> {
    if let Ok(connection) = std::env::var("SSH_CONNECTION") {
        return parse_connection(&connection);
    }
    // sudo removes the variable; the shell above it still has it.
    let mut pid = std::process::id();
    for _ in 0..MAX_ANCESTORS {
        pid = parent_of(pid)?;
        if let Ok(environment) = fs::read(format!("/proc/{pid}/environ"))
            && let Some(connection) = connection_in(&environment)
        {
            return parse_connection(&connection);
        }
    }
    None
}

/// Refuses when enforcing the policy now would deny the SSH peer.
pub fn refuse_if_enforcing_denies(context: &Context) -> Result<(), Failure> {
    let Some(explanation) = explain_peer(context)? else {
        return Ok(());
    };
    if explanation.verdict == "pass" {
        return Ok(());
    }
    Err(refusal(&explanation, "enforcing"))
}

/// Refuses when denying one of `targets` would reach the SSH peer, in enforce mode.
pub fn refuse_if_denial_reaches(
    context: &Context,
    targets: impl IntoIterator<Item = Target>,
) -> Result<(), Failure> {
    let Some(explanation) = explain_peer(context)? else {
        return Ok(());
    };
    if explanation.mode == ModeWord::Enforce
        && let Some(target) = targets.into_iter().find(|it| reaches(it, &explanation))
    {
        return Err(refusal(&explanation, &format!("denying {target}")));
    }
    Ok(())
}

/// Whether a denial of `target` would change what `explanation` says.
fn reaches(target: &Target, explanation: &Explanation) -> bool {
    if matches!(explanation.reason.as_str(), "out_of_scope" | "trusted") {
        return false;
    }
    match target {
        Target::Country(code) => explanation.country.as_deref() == Some(code.as_str()),
        Target::Prefix(prefix) => prefix.contains(explanation.address),
    }
}

fn explain_peer(context: &Context) -> Result<Option<Explanation>, Failure> {
    let Some((address, port)) = ssh_peer() else {
        return Ok(None);
    };
    let packet = Some(PacketKind::Tcp(port));
    context.ask(Request::Explain { address, packet }).map(Some)
}

fn refusal(explanation: &Explanation, what: &str) -> Failure {
    let address = explanation.address;
    Failure::failed(format!(
        "{what} would lock out your SSH session from {address} ({})",
        explanation.class.as_deref().unwrap_or(&explanation.reason)
    ))
    .hint(format!(
        "let it in:    cerco trust {address}\n\
         or do it all the same with --force; the way out, from the console:\n              \
         cerco detach --force"
    ))
}

/// `CLIENT CLIENT-PORT SERVER SERVER-PORT`, as sshd(8) sets it.
fn parse_connection(connection: &str) -> Option<(IpAddr, u16)> {
    let fields: Vec<&str> = connection.split_ascii_whitespace().collect();
    let address = fields.first()?.split('%').next()?.parse::<IpAddr>().ok()?;
    Some((address.to_canonical(), fields.get(3)?.parse().ok()?))
}

fn connection_in(environment: &[u8]) -> Option<String> {
    environment
        .split(|byte| *byte == 0)
        .find_map(|entry| entry.strip_prefix(b"SSH_CONNECTION="))
        .map(|value| String::from_utf8_lossy(value).into_owned())
}

/// Field 4 of /proc/PID/stat; field 2 is a name in parentheses that may hold anything.
fn parent_of(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after_name) = stat.rsplit_once(')')?;
    let parent = after_name.split_ascii_whitespace().nth(1)?.parse().ok()?;
    (parent > 1).then_some(parent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peer_and_local_port_are_read_from_the_variable() {
        let cases = [
            ("192.0.2.1 50000 198.51.100.1 22", Some(("192.0.2.1", 22))),
            (
                "2001:db8::1 50000 2001:db8::2 2222",
                Some(("2001:db8::1", 2222)),
            ),
            (
                "::ffff:192.0.2.1 1 ::ffff:192.0.2.2 22",
                Some(("192.0.2.1", 22)),
            ),
            ("fe80::1%eth0 1 fe80::2%eth0 22", Some(("fe80::1", 22))),
            ("192.0.2.1 50000", None),
            ("", None),
        ];
        for (text, expected) in cases {
            let expected = expected.map(|(address, port)| (address.parse().unwrap(), port));
            assert_eq!(parse_connection(text), expected, "{text}");
        }
        assert_eq!(
            connection_in(b"A=1\0SSH_CONNECTION=a b c d\0B=2\0"),
            Some("a b c d".to_owned())
        );
    }

    #[test]
    fn denial_reaches_only_the_peer_that_it_names() {
        let explanation = |reason: &str| Explanation {
            address: "192.0.2.1".parse().unwrap(),
            packet: "22/tcp".into(),
            stages: Vec::new(),
            reason: reason.into(),
            verdict: "pass".into(),
            mode: ModeWord::Enforce,
            passes_now: true,
            replies_pass: false,
            class: Some("MO".into()),
            country: Some("MO".into()),
            country_name: None,
        };
        let cases = [
            ("MO", "allowed", true),
            ("CN", "allowed", false),
            ("192.0.2.0/24", "allowed", true),
            ("198.51.100.0/24", "allowed", false),
            ("MO", "trusted", false),
            ("192.0.2.0/24", "out_of_scope", false),
        ];
        for (target, reason, expected) in cases {
            let target = target.parse().unwrap();
            assert_eq!(
                reaches(&target, &explanation(reason)),
                expected,
                "{target} {reason}"
            );
        }
    }
}
