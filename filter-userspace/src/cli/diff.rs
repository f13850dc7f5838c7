//! `cerco diff`: what runs against what the config says.

use serde_json::Value;

use super::{
    Context, Failure,
    failure::{BAD_USAGE, FAILED},
    output::{Output, Paint},
    table::cut,
};
use crate::control::{
    configured::{ConfigDiff, Difference, Form, Kind},
    protocol::Request,
};

/// Show how what runs differs from what the config files say
///
/// Reads the files as a reload would, and changes nothing. `-` runs, `+` is configured. Exits with 0
/// when there is no difference, 1 when there is one, 2 when the config is wrong or cannot be read, 3
/// when no daemon answers.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cerco diff && echo 'a restart would change nothing'
  cerco diff --json | jq -r '.differences[].key'")]
pub struct Args {}

/// Columns of a terminal.
const WIDTH: usize = 80;
/// Digits of a SHA-256 that tell one from another.
const SHOWN_DIGITS: usize = 16;

pub fn run(_: Args, context: &Context) -> Result<(), Failure> {
    let diff: ConfigDiff = context
        .ask(Request::Diff)
        .map_err(|failure| match failure {
            // 1 is a difference.
            Failure { code: FAILED, .. } => Failure {
                code: BAD_USAGE,
                ..failure
            },
            failure => failure,
        })?;
    context.output.show(&diff, render)?;
    match diff.equal {
        true => Ok(()),
        false => Err(Failure::failed("")),
    }
}

fn render(diff: &ConfigDiff, output: &Output) -> String {
    let mut text = String::new();
    if let Some(trial) = &diff.trial {
        let change = trial.change.as_deref().unwrap_or("a change");
        text += &format!(
            "on trial: {change}; undone in {} s unless `cerco confirm` comes\n",
            trial.remaining_seconds
        );
    }
    if diff.equal {
        return text + "what runs is what the config says\n";
    }
    let names: Vec<String> = diff
        .files
        .iter()
        .map(|file| file.path.display().to_string())
        .collect();
    text += &format!("--- running\n+++ {}\n", names.join("\n+++ "));
    for (kind, title) in [
        (Kind::Reload, "in the files: comes with `cerco reload`"),
        (
            Kind::Restart,
            "in the files: comes with a restart of the daemon",
        ),
        (
            Kind::Runtime,
            "made at runtime: a reload keeps it (see `cerco rules`)",
        ),
    ] {
        let of_kind = diff.differences.iter().filter(|it| it.kind == kind);
        let lines: String = of_kind.map(|it| lines(it, output)).collect();
        if !lines.is_empty() {
            text += &format!("@@ {title} @@\n{lines}");
        }
    }
    text
}

/// A line for each side.
pub fn lines(difference: &Difference, output: &Output) -> String {
    let mut text = String::new();
    let sides = [
        ('-', &difference.running, Paint::Bad),
        ('+', &difference.configured, Paint::Good),
    ];
    // A note is about what was made at runtime, or else about what is new.
    let noted = match (difference.kind, &difference.configured) {
        (Kind::Runtime, _) | (_, None) => '-',
        _ => '+',
    };
    for (sign, value, paint) in sides {
        let Some(value) = value else { continue };
        let note = difference.note.as_ref().filter(|_| sign == noted);
        let note = note.map_or(String::new(), |note| format!("  # {note}"));
        let line = format!("{sign}{}{note}", written(difference, value));
        text += &output.paint(paint, &cut(&line, WIDTH));
        text.push('\n');
    }
    text
}

fn written(difference: &Difference, value: &Value) -> String {
    let key = &difference.key;
    match (difference.form, value) {
        (Form::Rule, Value::String(words)) => words.clone(),
        (Form::Item, _) => format!("{key}: {value}"),
        (_, Value::String(text)) if is_digest(text) => {
            format!("{key} = {}…", &text[..SHOWN_DIGITS])
        }
        _ => format!("{key} = {value}"),
    }
}

fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::control::{configured::ConfigFile, reply::TrialStatus};

    fn difference(
        kind: Kind,
        form: Form,
        key: &str,
        running: Option<Value>,
        configured: Option<Value>,
        note: Option<&str>,
    ) -> Difference {
        Difference {
            kind,
            form,
            key: key.to_owned(),
            running,
            configured,
            note: note.map(str::to_owned),
        }
    }

    #[test]
    fn differences_are_listed_by_what_brings_them() {
        use Form::{Item, Rule, Setting};
        use Kind::{Reload, Restart, Runtime};
        let file = |name: &str| ConfigFile {
            path: name.into(),
            sha256: "0".repeat(64).parse().unwrap(),
        };
        let long = "a comment that does not fit into the line of a terminal of eighty columns";
        let diff = ConfigDiff {
            equal: false,
            files: vec![
                file("/etc/cerco/cerco.toml"),
                file("/etc/cerco/conf.d/a.toml"),
            ],
            trial: Some(TrialStatus {
                change: Some("deny US".to_owned()),
                remaining_seconds: 7,
            }),
            differences: vec![
                difference(
                    Reload,
                    Setting,
                    "policy.countries.CN",
                    Some(json!("deny")),
                    Some(json!("allow:residents")),
                    None,
                ),
                difference(Reload, Item, "protect.tcp", None, Some(json!(80)), None),
                difference(
                    Reload,
                    Setting,
                    "geo.database (sha256)",
                    Some(json!("a".repeat(64))),
                    Some(json!("b".repeat(64))),
                    Some("see `cerco geo diff`"),
                ),
                difference(Restart, Item, "interfaces", Some(json!("eth0")), None, None),
                difference(
                    Runtime,
                    Setting,
                    "mode",
                    Some(json!("enforce")),
                    Some(json!("observe")),
                    None,
                ),
                difference(
                    Runtime,
                    Rule,
                    "US",
                    Some(json!("deny US")),
                    Some(json!("allow US")),
                    Some(long),
                ),
            ],
        };
        let text = render(&diff, &Output::plain());
        let expected = "\
on trial: deny US; undone in 7 s unless `cerco confirm` comes
--- running
+++ /etc/cerco/cerco.toml
+++ /etc/cerco/conf.d/a.toml
@@ in the files: comes with `cerco reload` @@
-policy.countries.CN = \"deny\"
+policy.countries.CN = \"allow:residents\"
+protect.tcp: 80
-geo.database (sha256) = aaaaaaaaaaaaaaaa…
+geo.database (sha256) = bbbbbbbbbbbbbbbb…  # see `cerco geo diff`
@@ in the files: comes with a restart of the daemon @@
-interfaces: \"eth0\"
@@ made at runtime: a reload keeps it (see `cerco rules`) @@
-mode = \"enforce\"
+mode = \"observe\"
-deny US  # a comment that does not fit into the line of a terminal of eighty c…
+allow US
";
        assert_eq!(text, expected);
        for line in text.lines() {
            assert!(line.chars().count() <= WIDTH, "{line}");
        }
    }

    #[test]
    fn no_difference_is_said_in_a_line() {
        let diff = ConfigDiff {
            equal: true,
            files: Vec::new(),
            trial: None,
            differences: Vec::new(),
        };
        let text = render(&diff, &Output::plain());
        assert_eq!(text, "what runs is what the config says\n");
    }
}
