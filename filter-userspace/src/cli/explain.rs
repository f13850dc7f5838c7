//! `cerco explain`: why an address gets in or not.

use std::net::IpAddr;

use super::{
    Context, Failure,
    output::{Output, Paint},
    table::wrapped,
};
use crate::control::{
    protocol::{PacketKind, Request},
    reply::Explanation,
};

/// Say what happens to packets of an address, stage by stage, and why
///
/// The tables in the kernel decide, as they would for a packet. Without --port it asks about the
/// first port of [protect], or about a ping.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cerco explain 192.0.2.1
  cerco explain 2001:db8::1 --port 53/udp
  cerco explain 192.0.2.1 --port ping --json")]
pub struct Args {
    /// The source address, IPv4 or IPv6
    address: IpAddr,
    /// PORT/tcp, PORT/udp or ping
    #[arg(long, value_name = "PORT")]
    port: Option<PacketKind>,
}

pub fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let explanation: Explanation = context.ask(Request::Explain {
        address: args.address.to_canonical(),
        packet: args.port,
    })?;
    context.output.show(&explanation, render)
}

pub(super) fn render(explanation: &Explanation, output: &Output) -> String {
    let Explanation {
        address, packet, ..
    } = explanation;
    let mut text = format!("{address} to {packet}\n");
    for stage in &explanation.stages {
        let mark = if stage.decided { '*' } else { ' ' };
        let finding = wrapped(&stage.finding, 80, 12);
        text += &format!("{mark} {:<9} {finding}\n", stage.stage);
    }
    let (word, paint) = match (explanation.verdict.as_str(), explanation.passes_now) {
        ("pass", _) => ("passes", Paint::Good),
        (_, true) => (
            "passes, since the gate observes; enforced, it is dropped",
            Paint::Caution,
        ),
        (_, false) => ("is dropped", Paint::Bad),
    };
    text += &format!("= {} ({})\n", output.paint(paint, word), explanation.reason);
    if explanation.replies_pass {
        text += "  Answers to this host's own connections pass all the same.\n";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{protocol::ModeWord, reply::Stage};

    #[test]
    fn denied_country_in_observe_mode_reads_well() {
        let stage = |stage: &str, finding: &str, decided| Stage {
            stage: stage.into(),
            finding: finding.into(),
            decided,
        };
        let explanation = Explanation {
            address: "198.51.100.7".parse().unwrap(),
            packet: "443/tcp".into(),
            stages: vec![
                stage("scope", "443/tcp is looked at", false),
                stage(
                    "class",
                    "US (United States of America): 198.51.100.0 to 198.51.100.255 in builtin of \
                     2026-06-01",
                    false,
                ),
                stage("action", "deny, by [policy] default: US is not named", true),
            ],
            reason: "country_denied".into(),
            verdict: "drop".into(),
            mode: ModeWord::Observe,
            passes_now: true,
            replies_pass: true,
            class: Some("US".into()),
            country: Some("US".into()),
            country_name: Some("United States of America".into()),
        };
        assert_eq!(
            render(&explanation, &Output::plain()),
            "198.51.100.7 to 443/tcp\n  \
             scope     443/tcp is looked at\n  \
             class     US (United States of America): 198.51.100.0 to 198.51.100.255 in\n            \
             builtin of 2026-06-01\n\
             * action    deny, by [policy] default: US is not named\n\
             = passes, since the gate observes; enforced, it is dropped (country_denied)\n  \
             Answers to this host's own connections pass all the same.\n"
        );
    }
}
