//! `cerco rules`: what config and runtime say.

use super::{
    Context, Failure,
    output::Output,
    table::{self, cut},
    trial::OnTrial,
};
use crate::{
    control::{
        protocol::{Request, Target},
        reply::{Done, Rules},
    },
    policy::Port,
};

/// List the rules of the config and of the runtime, or remove a runtime rule
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cerco rules
  cerco rules remove US
  cerco rules remove US --port 80/tcp")]
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
        /// Also when it cuts off sessions: yours, or those of others who are logged in
        #[arg(long)]
        force: bool,
        /// Only the rule for this port, as in 80/tcp; else all rules for the target
        #[arg(long)]
        port: Option<Port>,
        #[command(flatten)]
        on_trial: OnTrial,
    },
}

pub fn run(args: Args, context: &Context) -> Result<(), Failure> {
    if let Some(RulesVerb::Remove {
        target,
        port,
        force,
        on_trial,
    }) = args.verb
    {
        let request = Request::RemoveRule { target, port };
        let done: Done = context.change(request, on_trial.confirm, force)?;
        return context.output.done(&done);
    }
    let rules: Rules = context.ask(Request::Rules)?;
    context.output.show(&rules, render)
}

fn render(rules: &Rules, _: &Output) -> String {
    let mut text = format!(
        "default {}, unknown addresses {}, private addresses {}\n",
        rules.default, rules.unknown, rules.private
    );
    for (origin, title) in [
        ("config", "From the config:"),
        ("runtime", "Made at runtime, over the config:"),
    ] {
        let rows: Vec<Vec<String>> = rules
            .rules
            .iter()
            .filter(|rule| rule.origin == origin)
            .map(|rule| {
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
                vec![
                    format!("  {}", rule.rule),
                    rule.target.clone(),
                    cut(&notes.join(", "), 60),
                ]
            })
            .collect();
        if !rows.is_empty() {
            text += &format!("\n{title}\n");
            text += &table::render(&["  rule", "target", "note"], &[], &rows);
        }
    }
    text
}
