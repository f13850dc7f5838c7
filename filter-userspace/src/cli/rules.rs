//! `cerco rules`: what config and runtime say.

use super::{
    Context, Failure,
    output::Output,
    permanent,
    table::{self, cut},
    trial::OnTrial,
};
use crate::{
    control::{
        protocol::{Request, Target},
        reply::{Done, RuleLine, Rules},
    },
    policy::Port,
};

/// List the rules of the config and of the runtime, or remove one
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cerco rules
  cerco rules remove US
  cerco rules remove US --port 80/tcp
  cerco rules remove US --permanent         also from the config")]
pub struct Args {
    #[command(subcommand)]
    verb: Option<RulesVerb>,
}

#[derive(Debug, clap::Subcommand)]
enum RulesVerb {
    /// End a rule that was made with allow, deny or trust
    Remove {
        /// The country code or the prefix
        target: Target,
        /// Only the rule for this port, as in 80/tcp, and of two the one that
        /// ends; else all rules for the target
        #[arg(long, conflicts_with = "permanent")]
        port: Option<Port>,
        /// Also what the config says about it
        #[arg(long)]
        permanent: bool,
        /// Also when it cuts off sessions: yours, or those of others who are logged in
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        on_trial: OnTrial,
    },
}

pub fn run(args: Args, context: &Context) -> Result<(), Failure> {
    if let Some(RulesVerb::Remove {
        target,
        port,
        permanent,
        force,
        on_trial,
    }) = args.verb
    {
        if permanent {
            permanent::refuse_beside(&[], None, on_trial.confirm)?;
            return permanent::remove(target, force, context);
        }
        let request = Request::RemoveRule { target, port };
        let done: Done = context.change(request, on_trial.confirm, force)?;
        return context.output.done(&done);
    }
    let rules: Rules = context.ask(Request::Rules)?;
    context.output.show(&rules, render)
}

/// Columns of a terminal.
const WIDTH: usize = 80;

fn render(rules: &Rules, _: &Output) -> String {
    let mut text = format!(
        "default {}, unknown addresses {}, private addresses {}\n",
        rules.default, rules.unknown, rules.private
    );
    let of = |origin: &str| -> Vec<[String; 3]> {
        let rules = rules.rules.iter().filter(|rule| rule.origin == origin);
        rules
            .map(|rule| [rule.rule.clone(), rule.target.clone(), note(rule)])
            .collect()
    };
    text += &section("From the config", of("config"));
    let mode = rules.mode.map(|own| {
        let note = format!("the config says {}", own.configured.word());
        ["mode".to_owned(), own.mode.word().to_owned(), note]
    });
    let at_runtime: Vec<[String; 3]> = mode.into_iter().chain(of("runtime")).collect();
    if !at_runtime.is_empty() {
        text += &section(
            "Made at runtime, over the config; reloads and restarts keep it",
            at_runtime,
        );
        let mode = rules.mode.map(|own| format!("cerco {}", own.mode.word()));
        let rules = rules.rules.iter().filter(|rule| rule.origin == "runtime");
        // A config has no rules for single ports.
        let rules = rules.filter(|rule| rule.port.is_none());
        let commands = mode.into_iter().chain(rules.map(command));
        let lines: String = commands.map(|it| format!("  {it} --permanent\n")).collect();
        if !lines.is_empty() {
            text += &format!("\nTo make it permanent:\n{lines}");
        }
    }
    text + "\nBans are apart from these: `cerco bans`.\n"
}

fn section(title: &str, rows: Vec<[String; 3]>) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let width_of = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    // Two blanks before the first column and behind each.
    let taken = 6 + width_of(0).unwrap_or(0).max(4) + width_of(1).unwrap_or(0).max(6);
    let rows: Vec<Vec<String>> = rows
        .into_iter()
        .map(|[rule, target, note]| {
            let note = cut(&note, WIDTH.saturating_sub(taken));
            vec![format!("  {rule}"), target, note]
        })
        .collect();
    let table = table::render(&["  rule", "target", "note"], &[], &rows);
    format!("\n{title}:\n{table}")
}

fn note(rule: &RuleLine) -> String {
    let mut notes = Vec::new();
    if let Some(port) = rule.port {
        notes.push(format!("on {port}"));
    }
    if let Some(limit) = &rule.limit {
        notes.push(format!("limit {limit}"));
    }
    if let Some(expires) = rule.expires {
        notes.push(format!(
            "until {}",
            humantime::format_rfc3339_seconds(expires)
        ));
    }
    if let Some(why) = &rule.suspended {
        notes.push(format!("NOT IN FORCE: {why}"));
    }
    notes.extend(rule.comment.clone());
    notes.join(", ")
}

/// How one would type the rule; its comment comes along by itself.
fn command(rule: &RuleLine) -> String {
    match &rule.limit {
        Some(limit) => format!("cerco {} {} --limit {limit}", rule.rule, rule.target),
        None => format!("cerco {} {}", rule.rule, rule.target),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{protocol::ModeWord, reply::RuntimeMode};

    #[test]
    fn what_runs_at_runtime_is_apart_and_says_how_it_lasts() {
        let line = |rule: &str, target: &str, origin: &str| RuleLine {
            rule: rule.into(),
            target: target.into(),
            port: None,
            limit: None,
            origin: origin.into(),
            expires: None,
            comment: None,
            suspended: None,
        };
        let long = "2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff/128";
        let rules = Rules {
            mode: Some(RuntimeMode {
                mode: ModeWord::Enforce,
                configured: ModeWord::Observe,
            }),
            default: "deny".into(),
            unknown: "deny".into(),
            private: "allow".into(),
            rules: vec![
                line("allow", "MO", "config"),
                RuleLine {
                    limit: Some("residents".into()),
                    ..line("allow", "CN", "runtime")
                },
                RuleLine {
                    comment: Some("a reason that needs more room than there is".into()),
                    ..line("deny", long, "runtime")
                },
            ],
        };
        let expected = "\
default deny, unknown addresses deny, private addresses allow

From the config:
  rule   target  note
  allow  MO

Made at runtime, over the config; reloads and restarts keep it:
  rule   target                                      note
  mode   enforce                                     the config says observe
  allow  CN                                          limit residents
  deny   2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff/128  a reason that needs more r…

To make it permanent:
  cerco enforce --permanent
  cerco allow CN --limit residents --permanent
  cerco deny 2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff/128 --permanent

Bans are apart from these: `cerco bans`.
";
        let text = render(&rules, &Output::plain());
        assert_eq!(text, expected);
        for line in text.lines() {
            assert!(line.chars().count() <= WIDTH, "{line}");
        }
    }
}
