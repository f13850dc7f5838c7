//! Config files that were changed by command: put in force, and what they say now ends at runtime.

use std::path::Path;

use tracing::{error, info};

use super::{
    databases::Acceptance,
    lock::Lock,
    overlay::Overlay,
    reload::Reload,
    state::{Daemon, runtime_file_in},
};
use crate::{
    cause,
    config::SourceFile,
    control::{
        configured::{Adoption, ConfigFile},
        protocol::Refusal,
        reply::Done,
    },
};

impl Daemon {
    /// A reload of config files that the CLI has just changed. When it is refused the CLI puts the files back, so
    /// unlike that of a reload the refusal does not stay visible.
    pub(super) fn adopt(&mut self, adoption: &Adoption) -> Result<Done, Refusal> {
        let ended = end(&mut self.overlay.clone(), adoption);
        let adopted = self.try_reload(&Reload::Adopted(adoption), Acceptance::Judged);
        let done =
            adopted.inspect_err(|refusal| error!("change of the config refused: {refusal}"))?;
        self.last_reload_error = None;
        info!("the config was changed by command; {}", done.message);
        for words in &ended {
            info!("{words}");
        }
        Ok(Done {
            message: ended.join("\n"),
            warnings: done.warnings,
        })
    }
}

/// Ends what the config says from now on; in words.
pub fn end(overlay: &mut Overlay, adoption: &Adoption) -> Vec<String> {
    let rules = match adoption.target {
        Some(target) if adoption.ports => overlay.remove(target, None),
        Some(target) => overlay.remove_whole(target),
        None => Vec::new(),
    };
    let mut ended: Vec<String> = rules
        .iter()
        .map(|rule| format!("the runtime rule `{}` has ended", rule.word()))
        .collect();
    if adoption.mode
        && let Some(own) = overlay.mode.take()
    {
        let word = own.mode.word();
        ended.push(format!(
            "the mode `{word}` that was set at runtime has ended"
        ));
    }
    ended
}

/// Another config than the one that was changed: the CLI was given another `--config`, or somebody saved it since.
pub(super) fn refuse_other_files(adoption: &Adoption, files: &[SourceFile]) -> Result<(), Refusal> {
    let read: Vec<ConfigFile> = files.iter().map(ConfigFile::from).collect();
    let digests = |files: &[ConfigFile]| -> Vec<_> {
        // By another way to the same file its path is another.
        files.iter().map(|file| file.sha256).collect()
    };
    if digests(&read) == digests(&adoption.files) {
        return Ok(());
    }
    let names: Vec<String> = read
        .iter()
        .map(|file| file.path.display().to_string())
        .collect();
    Err(Refusal::failed(format!(
        "the daemon reads another config: {}",
        names.join(", ")
    )))
}

/// Ends in the directory `state` what the config says from now on, while no daemon runs; in words. Otherwise the next
/// start would put it over the config again.
pub fn end_without_daemon(state: &Path, adoption: &Adoption) -> Result<Vec<String>, String> {
    let path = runtime_file_in(state);
    if !path.exists() {
        return Ok(Vec::new());
    }
    // First the lock: a daemon that ran a moment ago may have written meanwhile.
    let _lock = Lock::take(state).map_err(|error| cause::chain(&error))?;
    let mut overlay = Overlay::load(&path).map_err(|error| cause::chain(&error))?;
    let ended = end(&mut overlay, adoption);
    if ended.is_empty() {
        return Ok(ended);
    }
    overlay.save(&path).map_err(|error| cause::chain(&error))?;
    Ok(ended)
}
