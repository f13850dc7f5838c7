//! Writes a change into the config and has the daemon take it, or leaves everything as it was.

use std::{net::IpAddr, path::PathBuf};

use serde::Serialize;

use super::Asked;
use crate::{
    cli::{Context, Failure, failure::NO_DAEMON, lockout},
    compile::compile,
    config::{
        self, Config, SourceFile,
        edit::{Change, EditError, Edited, edit},
        write::{EditLock, WriteError, replace},
    },
    control::{
        client::{self, ClientError},
        configured::{Adoption, ConfigDiff, ConfigFile, DATABASE_FILE, Kind},
        protocol::{Asker, Request, Target},
        reply::{Done, RuleLine, Rules},
    },
    daemon::{self, lockout::denied_class, moment::Moment, overlay::Overlay},
    kernel::Mode,
};

/// What was done; the keys of [`Done`] and some more.
#[derive(Serialize)]
struct Written {
    message: String,
    warnings: Vec<String>,
    file: Option<PathBuf>,
    /// From 1.
    line: Option<usize>,
    /// False: no daemon runs.
    in_force: bool,
}

pub fn write(asked: Asked, context: &Context) -> Result<(), Failure> {
    let file = context.global.config.as_deref();
    let main = file.unwrap_or(config::DEFAULT_FILE.as_ref());
    // Until the daemon has answered, so that nobody's change is put back with this one.
    let _lock = match EditLock::take(main) {
        Err(WriteError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => None,
        lock => Some(lock.map_err(failed)?),
    };
    let (config, report) = config::load(file).map_err(|report| {
        Failure::bad_usage(format!("the config is wrong already\n{report}"))
            .hint("nothing was changed; `cerco check` shows this again")
    })?;
    let files = report.files;
    let runs = match context.ask::<ConfigDiff>(Request::Diff) {
        Ok(diff) => {
            refuse_more_than_asked(&diff, &files)?;
            true
        }
        Err(failure) if failure.code == NO_DAEMON => false,
        Err(failure) => return Err(failure),
    };
    let at_runtime = match (runs, asked.target) {
        (true, Some(target)) => runtime_rule(context, target)?,
        _ => None,
    };
    let comment = asked
        .comment
        .clone()
        .or_else(|| comment_of(at_runtime.as_ref()?, &asked, &config));
    let edited = match edit(&files, &asked.change, comment.as_deref()) {
        Ok(edited) => Some(edited),
        // The runtime may still have a rule for it.
        Err(EditError::Nothing) if at_runtime.is_some() => None,
        Err(error) => return Err(refused(&error, &asked, runs)),
    };
    let after: &[SourceFile] = edited.as_ref().map_or(&files, |edited| &edited.files);
    let adoption = Adoption {
        files: after.iter().map(ConfigFile::from).collect(),
        target: asked.target,
        ports: matches!(asked.change, Change::NoCountry(_) | Change::NoPrefix(_)),
        mode: matches!(asked.change, Change::Mode(_)),
    };
    let ssh_peer = match asked.force {
        true => None,
        false => lockout::ssh_peer(),
    };
    let mut warnings = Vec::new();
    if let (false, Some(edited), Some(peer)) = (runs, &edited, ssh_peer) {
        warnings.extend(refuse_lockout_at_start(
            &edited.config,
            &adoption,
            peer,
            context,
        )?);
    }
    let changed: Vec<(&SourceFile, &SourceFile)> = files
        .iter()
        .zip(after)
        .filter(|(old, new)| old != new)
        .collect();
    put(&changed)?;
    let ended = match runs {
        true => adopt(
            adoption.clone(),
            asked.force,
            &changed,
            &mut warnings,
            context,
        )?,
        false => None,
    };
    let in_force = ended.is_some();
    let ended = ended.unwrap_or_else(|| without_daemon(&adoption, context, &mut warnings));
    let mut message = in_words(&asked, edited.as_ref(), !changed.is_empty(), in_force);
    for line in ended.lines() {
        message += &format!("\n{line}");
    }
    let (file, line) = edited.and_then(|edited| edited.place).unzip();
    let written = Written {
        message,
        warnings,
        file,
        line,
        in_force,
    };
    if !context.output.is_json() {
        for warning in &written.warnings {
            context.output.warn(warning);
        }
    }
    context
        .output
        .show(&written, |written, _| written.message.clone())
}

/// A change by command changes one thing: what else waits in the files for a reload would come along.
fn refuse_more_than_asked(diff: &ConfigDiff, files: &[SourceFile]) -> Result<(), Failure> {
    if let Some(trial) = &diff.trial {
        let what = trial.change.as_deref().unwrap_or("a change");
        return Err(Failure::failed(format!(
            "\"{what}\" is on trial for another {} s: `cerco confirm` or `cerco rollback` first",
            trial.remaining_seconds
        )));
    }
    let read: Vec<_> = diff.files.iter().map(|file| file.sha256).collect();
    let own: Vec<_> = files
        .iter()
        .map(|file| ConfigFile::from(file).sha256)
        .collect();
    if read != own {
        let names: Vec<String> = diff
            .files
            .iter()
            .map(|file| file.path.display().to_string())
            .collect();
        return Err(Failure::failed(format!(
            "the daemon reads another config: {}",
            names.join(", ")
        ))
        .hint("name it with --config"));
    }
    let waits = diff
        .differences
        .iter()
        .any(|it| it.kind == Kind::Reload && it.key != DATABASE_FILE);
    if waits {
        return Err(Failure::failed(
            "the config has other changes that are not in force yet, and they would come along",
        )
        .hint("`cerco diff` shows them, `cerco reload` takes them; repeat this after it"));
    }
    Ok(())
}

fn runtime_rule(context: &Context, target: Target) -> Result<Option<RuleLine>, Failure> {
    let rules: Rules = context.ask(Request::Rules)?;
    let target = target.to_string();
    Ok(rules
        .rules
        .into_iter()
        .filter(|rule| rule.origin == "runtime" && rule.target == target)
        // Of what ends the config will not say anything.
        .min_by_key(|rule| rule.expires.is_some()))
}

/// The comment of a runtime rule that the config is to say from now on. One that stands in the config is not lost
/// for it.
fn comment_of(rule: &RuleLine, asked: &Asked, config: &Config) -> Option<String> {
    let policy = &config.policy;
    let is_said = match asked.target? {
        Target::Country(code) => policy.countries.contains_key(&code),
        Target::Prefix(prefix) => [&policy.trusted, &policy.allow, &policy.deny]
            .iter()
            .any(|list| list.contains(&prefix)),
    };
    let is_same = asked.word.split(' ').next() == Some(rule.rule.as_str());
    rule.comment.clone().filter(|_| is_same && !is_said)
}

fn refused(error: &EditError, asked: &Asked, runs: bool) -> Failure {
    match error {
        EditError::Nothing if !runs => Failure::bad_usage(format!(
            "the config says nothing about {}, and no daemon runs to ask for a runtime rule",
            asked.word
        )),
        EditError::Nothing => Failure::bad_usage(format!(
            "neither the config nor a runtime rule says anything about {}",
            asked.word
        )),
        _ => Failure::bad_usage(error.to_string()).hint("nothing was changed"),
    }
}

/// Without a daemon nobody but this command can see that the next start would cut the session off.
fn refuse_lockout_at_start(
    config: &Config,
    adoption: &Adoption,
    peer: (IpAddr, u16),
    context: &Context,
) -> Result<Option<String>, Failure> {
    let state = context.paths().state;
    let mut overlay = Overlay::load(&state.join("runtime.json")).unwrap_or_default();
    overlay.expire(std::time::SystemTime::now());
    daemon::end(&mut overlay, adoption);
    if overlay.settle_mode(config.mode) != Mode::Enforce {
        return Ok(None);
    }
    let (policy, _) = overlay.apply(&config.policy, Moment::now());
    let compiled = match config.read_database().map(|it| compile(&policy, &it)) {
        Ok(Ok(compiled)) => compiled,
        Ok(Err(error)) => return Err(Failure::bad_usage(error.to_string())),
        Err(error) => {
            return Ok(Some(format!(
                "nobody looked whether it locks out your SSH session: {error}"
            )));
        }
    };
    match denied_class(&policy, &compiled, peer) {
        None => Ok(None),
        Some(class) => Err(Failure::failed(format!(
            "the next start would lock out your SSH session from {} ({class})",
            peer.0
        ))
        .hint(format!(
            "let it in:    cerco trust {} --permanent\nor do it all the same with --force",
            peer.0
        ))),
    }
}

/// Writes all files or none.
fn put(changed: &[(&SourceFile, &SourceFile)]) -> Result<(), Failure> {
    for (done, (old, new)) in changed.iter().enumerate() {
        if let Err(error) = replace(&old.path, &old.text, &new.text) {
            // It may be in place all the same, and only not be known to be on the disk.
            return Err(put_back(&changed[..=done], failed(error)));
        }
    }
    Ok(())
}

/// Makes the files what they were, and says so behind why.
fn put_back(changed: &[(&SourceFile, &SourceFile)], mut why: Failure) -> Failure {
    let mut all_back = true;
    for (old, new) in changed {
        let is_not_back = |_: &WriteError| {
            let now = std::fs::read_to_string(&old.path);
            !now.is_ok_and(|text| text == old.text)
        };
        if let Some(error) = replace(&old.path, &new.text, &old.text)
            .err()
            .filter(is_not_back)
        {
            all_back = false;
            why.message += &format!(
                "\nand {} still has the change, it could not be put back: {error}",
                old.path.display()
            );
        }
    }
    if !all_back {
        return why;
    }
    let hint = "nothing was changed: the config is as it was before";
    let earlier = why.hint.take().map(|earlier| format!("{earlier}\n"));
    why.hint(format!("{}{hint}", earlier.unwrap_or_default()))
}

/// Has the daemon read the files again. What has ended at runtime, in lines; `None`: the daemon is gone.
fn adopt(
    adoption: Adoption,
    force: bool,
    changed: &[(&SourceFile, &SourceFile)],
    warnings: &mut Vec<String>,
    context: &Context,
) -> Result<Option<String>, Failure> {
    let socket = context.paths().socket;
    let asker = Asker {
        ssh_peer: lockout::ssh_peer(),
        force,
    };
    match client::ask_as(&socket, asker, Request::Adopt(adoption), None) {
        Ok(reply) => {
            let done: Done = serde_json::from_value(reply)
                .map_err(|source| Failure::from(ClientError::Parse { source }))?;
            warnings.extend(done.warnings);
            Ok(Some(done.message))
        }
        Err(ClientError::NoDaemon { .. }) => Ok(None),
        Err(ClientError::Refused(refusal)) => {
            Err(put_back(changed, ClientError::Refused(refusal).into()))
        }
        // It may be in force: only the daemon knows.
        Err(error) => Err(Failure::from(error)
            .hint("the config has the change; `cerco diff` shows whether it is in force")),
    }
}

fn without_daemon(adoption: &Adoption, context: &Context, warnings: &mut Vec<String>) -> String {
    match daemon::end_without_daemon(&context.paths().state, adoption) {
        Ok(ended) => ended.join("\n"),
        Err(error) => {
            warnings.push(format!(
                "what was set at runtime may go over it at the next start: {error}"
            ));
            String::new()
        }
    }
}

fn in_words(asked: &Asked, edited: Option<&Edited>, is_changed: bool, in_force: bool) -> String {
    let word = &asked.word;
    let Some(edited) = edited else {
        return format!("{word}: the config says nothing about it");
    };
    let taken = edited.taken_from.join(" and ");
    let place = edited
        .place
        .as_ref()
        .map(|(file, line)| format!("{}:{line}", file.display()));
    let mut text = match (&place, is_changed) {
        (None, _) => format!("{word}: removed from {taken}"),
        (Some(place), true) => format!("{word}: written to {place}"),
        (Some(place), false) => format!("{word}: {place} says so already"),
    };
    if place.is_some() && !taken.is_empty() {
        text += &format!(", taken out of {taken}");
    }
    text += match (in_force, is_changed) {
        (true, _) => "; in force",
        (false, true) => "\nno daemon runs: it takes effect at the next start",
        (false, false) => "",
    };
    text
}

fn failed(error: WriteError) -> Failure {
    let is_denied = matches!(&error, WriteError::Io { source, .. }
        if source.kind() == std::io::ErrorKind::PermissionDenied);
    let failure = Failure::failed(error.to_string());
    match is_denied {
        true => failure.hint("run this as root"),
        false => failure,
    }
}
