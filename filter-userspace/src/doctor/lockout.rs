//! Whom the policy would lock out of SSH.

use std::{net::IpAddr, path::Path};

use super::{ask, commands::Commands, finding::Finding, intended::Intended};
use crate::{
    control::{
        protocol::{ModeWord, PacketKind, Request},
        reply::Explanation,
    },
    daemon::lockout::denied_class,
    kernel::{self, Link},
    logins::{self, Behind, Session},
};

/// A session, and what the policies say about its far end.
pub struct Risk {
    pub session: Session,
    /// Whether its packets come by the gate.
    pub is_behind_the_gate: bool,
    pub runs: Said,
    pub written: Said,
}

/// What a policy says, in enforce mode.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Said {
    Passes,
    /// With the class, as `US` or `unknown`.
    Denied(String),
    /// There is no such policy, or it cannot be asked.
    Nothing,
}

/// Each SSH session, with what the gate and the config say about it. `guarded`: the numbers of the
/// interfaces of the gate.
pub fn gather(
    links: &[Link],
    guarded: &[u32],
    ssh_session: Option<(IpAddr, u16)>,
    socket: &Path,
    intended: &Intended,
) -> Vec<Risk> {
    let addresses = kernel::addresses().unwrap_or_default();
    let behind = Behind::of(links, &addresses, guarded);
    let risk = |session: Session| {
        let peer = (session.peer, session.port);
        let written = intended.compiled.as_ref().map(|(policy, compiled)| {
            denied_class(policy, compiled, peer).map_or(Said::Passes, Said::Denied)
        });
        Risk {
            is_behind_the_gate: behind.holds(session.local),
            session,
            runs: asked(socket, peer),
            written: written.unwrap_or(Said::Nothing),
        }
    };
    logins::gather(ssh_session).into_iter().map(risk).collect()
}

/// What the gate says, when a daemon can be asked.
fn asked(socket: &Path, (address, port): (IpAddr, u16)) -> Said {
    let packet = Some(PacketKind::Tcp(port));
    match ask::<Explanation>(socket, Request::Explain { address, packet }) {
        Ok(explanation) if explanation.verdict == "pass" => Said::Passes,
        Ok(explanation) => Said::Denied(explanation.class.unwrap_or(explanation.reason)),
        Err(_) => Said::Nothing,
    }
}

/// `mode`: of the gate, or what the config starts it with.
pub fn judge(risks: &[Risk], mode: Option<ModeWord>, commands: &Commands) -> Vec<Finding> {
    if risks.is_empty() {
        return vec![Finding::ok(
            "lockout",
            "No SSH session from outside stands that could be locked out.",
        )];
    }
    risks
        .iter()
        .map(|risk| risk.judge(mode, commands))
        .collect()
}

impl Risk {
    fn judge(&self, mode: Option<ModeWord>, commands: &Commands) -> Finding {
        const CHECK: &str = "lockout";
        let peer = self.session.peer;
        let port = self.session.port;
        if !self.is_behind_the_gate {
            return Finding::ok(
                CHECK,
                format!("The SSH session from {peer} does not come by the gate."),
            );
        }
        let trust = commands.cerco(&format!("trust {peer}"));
        // Without a daemon there is nobody to tell at runtime.
        let in_config = || commands.edit_and_restart(&format!("[trusted] prefixes = [\"{peer}\"]"));
        match (&self.runs, &self.written, mode) {
            (Said::Denied(class), _, Some(ModeWord::Enforce)) => Finding::fault(
                CHECK,
                format!(
                    "The gate drops the SSH session from {peer} ({class}) to port {port}: no new \
                     one will stand."
                ),
            )
            .mend(trust),
            (Said::Denied(class), _, _) => Finding::warning(
                CHECK,
                format!("`cerco enforce` would lock out the SSH session from {peer} ({class})."),
            )
            .mend(trust),
            (Said::Passes, Said::Denied(class), _) => Finding::warning(
                CHECK,
                format!(
                    "`cerco reload` would lock out the SSH session from {peer} ({class}), which \
                     passes now."
                ),
            )
            .mend(trust),
            (Said::Nothing, Said::Denied(class), Some(ModeWord::Enforce)) => Finding::fault(
                CHECK,
                format!(
                    "`systemctl start cerco` would lock out the SSH session from {peer} ({class})."
                ),
            )
            .mend(in_config()),
            (Said::Nothing, Said::Denied(class), _) => Finding::warning(
                CHECK,
                format!("`cerco enforce` would lock out the SSH session from {peer} ({class})."),
            )
            .mend(in_config()),
            (Said::Nothing, Said::Nothing, _) => Finding::unknown(
                CHECK,
                format!("Nothing says whether the SSH session from {peer} would pass."),
            )
            .mend(commands.as_root()),
            (Said::Passes, _, _) | (Said::Nothing, Said::Passes, _) => {
                Finding::ok(CHECK, format!("The SSH session from {peer} passes."))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn risk(is_behind_the_gate: bool, runs: Said, written: Said) -> [Risk; 1] {
        let session = Session {
            peer: "203.0.113.7".parse().unwrap(),
            port: 2222,
            local: None,
            users: BTreeSet::new(),
        };
        [Risk {
            session,
            is_behind_the_gate,
            runs,
            written,
        }]
    }

    #[test]
    fn sessions_that_would_be_cut_off_are_found() {
        use ModeWord::{Enforce, Observe};
        use Said::{Nothing, Passes};
        let denied = || Said::Denied("US".into());
        let trust = "cerco trust 203.0.113.7";
        let config = "sensible-editor /etc/cerco/cerco.toml && systemctl restart cerco    # [trusted] \
                      prefixes = [\"203.0.113.7\"]";
        let passes = Finding::ok("lockout", "The SSH session from 203.0.113.7 passes.");
        let enforce_would = Finding::warning(
            "lockout",
            "`cerco enforce` would lock out the SSH session from 203.0.113.7 (US).",
        );
        let cases = [
            (
                risk(true, denied(), denied()),
                Some(Enforce),
                Finding::fault(
                    "lockout",
                    "The gate drops the SSH session from 203.0.113.7 (US) to port 2222: no new one \
                     will stand.",
                )
                .mend(trust),
            ),
            (
                risk(true, denied(), Passes),
                Some(Observe),
                enforce_would.clone().mend(trust),
            ),
            (
                risk(true, Passes, denied()),
                Some(Enforce),
                Finding::warning(
                    "lockout",
                    "`cerco reload` would lock out the SSH session from 203.0.113.7 (US), which \
                     passes now.",
                )
                .mend(trust),
            ),
            (
                risk(true, Nothing, denied()),
                Some(Enforce),
                Finding::fault(
                    "lockout",
                    "`systemctl start cerco` would lock out the SSH session from 203.0.113.7 (US).",
                )
                .mend(config),
            ),
            (
                risk(true, Nothing, denied()),
                Some(Observe),
                enforce_would.mend(config),
            ),
            (risk(true, Passes, Passes), Some(Enforce), passes.clone()),
            (risk(true, Passes, Nothing), Some(Enforce), passes.clone()),
            (risk(true, Nothing, Passes), None, passes),
            (
                risk(true, Nothing, Nothing),
                None,
                Finding::unknown(
                    "lockout",
                    "Nothing says whether the SSH session from 203.0.113.7 would pass.",
                )
                .mend("sudo cerco doctor"),
            ),
            (
                risk(false, denied(), denied()),
                Some(Enforce),
                Finding::ok(
                    "lockout",
                    "The SSH session from 203.0.113.7 does not come by the gate.",
                ),
            ),
        ];
        for (risks, mode, expected) in cases {
            assert_eq!(judge(&risks, mode, &Commands::new(None)), [expected]);
        }
        assert_eq!(
            judge(&[], Some(Enforce), &Commands::new(None)),
            [Finding::ok(
                "lockout",
                "No SSH session from outside stands that could be locked out."
            )]
        );
    }
}
