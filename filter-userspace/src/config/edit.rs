//! Changes of the config files by command, as a person would type them: one target, everything else untouched.

mod add;
mod brackets;
mod lines;
mod splice;
#[cfg(test)]
mod tests;
mod tree;

use std::path::PathBuf;

use filter_common::country::CountryCode;
use ipnetwork::IpNetwork;

use super::{Config, Report, SourceFile, load_texts, parse_prefix};
use crate::{
    countries,
    kernel::Mode,
    policy::{Action, Policy},
};

/// What the config is to say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    Country(CountryCode, CountryAction),
    Prefix(IpNetwork, List),
    Mode(Mode),
    /// Nothing about the country.
    NoCountry(CountryCode),
    /// Nothing about the prefix.
    NoPrefix(IpNetwork),
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CountryAction {
    Allow,
    Deny,
    /// Within the limit of this name.
    AllowWithin(String),
}

impl CountryAction {
    /// As the config writes it.
    fn word(&self) -> String {
        match self {
            Self::Allow => "allow".to_owned(),
            Self::Deny => "deny".to_owned(),
            Self::AllowWithin(name) => format!("allow:{name}"),
        }
    }
}

/// The lists of prefixes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum List {
    Allow,
    Deny,
    Trusted,
}

impl List {
    const ALL: [Self; 3] = [Self::Trusted, Self::Allow, Self::Deny];

    const fn path(self) -> [&'static str; 2] {
        match self {
            Self::Trusted => ["trusted", "prefixes"],
            Self::Allow => ["rules", "allow"],
            Self::Deny => ["rules", "deny"],
        }
    }

    /// As a person finds it in the file.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Trusted => "[trusted] prefixes",
            Self::Allow => "[rules] allow",
            Self::Deny => "[rules] deny",
        }
    }

    const fn of(self, policy: &mut Policy) -> &mut Vec<IpNetwork> {
        match self {
            Self::Trusted => &mut policy.trusted,
            Self::Allow => &mut policy.allow,
            Self::Deny => &mut policy.deny,
        }
    }
}

const COUNTRIES: [&str; 2] = ["policy", "countries"];

/// The files after a change.
#[derive(Debug)]
pub struct Edited {
    /// All of them, also those that stay as they were; in their order.
    pub files: Vec<SourceFile>,
    pub config: Config,
    /// File and line, from 1, where it stands now; `None` when it was taken away.
    pub place: Option<(PathBuf, usize)>,
    /// Where else something about the target was taken away, as `[rules] deny`.
    pub taken_from: Vec<&'static str>,
}

#[derive(Debug, thiserror::Error)]
pub enum EditError {
    #[error("the config is wrong already:\n{0}")]
    Faulty(Report),
    #[error("the config would be wrong after this:\n{0}")]
    WouldBeFaulty(Report),
    #[error("the config says nothing about it")]
    Nothing,
    /// A layout that this cannot edit without changing more than was asked for.
    #[error("the config is written in a way that this cannot change; change it with an editor")]
    Layout,
}

/// Changes `files`, which are read in this order; `comment` goes beside the line.
///
/// The file that speaks of the target already is changed; else the first one, or where that has no fitting section
/// the last one that has it. The outcome is read again: it says what was asked for, and everything else as before.
pub fn edit(
    files: &[SourceFile],
    change: &Change,
    comment: Option<&str>,
) -> Result<Edited, EditError> {
    let (before, _) = load_texts(files.to_vec()).map_err(EditError::Faulty)?;
    let mut texts: Vec<String> = files.iter().map(|file| file.text.clone()).collect();
    let done = match change {
        Change::Country(code, action) => set_country(&mut texts, *code, &action.word(), comment),
        Change::Prefix(prefix, list) => set_prefix(&mut texts, *prefix, *list, comment),
        Change::Mode(mode) => set_mode(&mut texts, *mode, comment),
        Change::NoCountry(code) => remove_country(&mut texts, *code),
        Change::NoPrefix(prefix) => take_prefix(&mut texts, *prefix).map(|taken| Done {
            place: None,
            taken_from: taken.lists,
        }),
    }
    .ok_or(EditError::Layout)?;
    let is_removal = matches!(change, Change::NoCountry(_) | Change::NoPrefix(_));
    let files: Vec<SourceFile> = files
        .iter()
        .zip(texts)
        .map(|(file, text)| SourceFile {
            path: file.path.clone(),
            text,
        })
        .collect();
    if is_removal && done.taken_from.is_empty() {
        return Err(EditError::Nothing);
    }
    let (config, _) = load_texts(files.clone()).map_err(EditError::WouldBeFaulty)?;
    if sorted(&config) != sorted(&expected(&before, change)) {
        return Err(EditError::Layout);
    }
    let place = done.place.and_then(|(file, line)| {
        let file = files.get(file)?;
        Some((file.path.clone(), line))
    });
    Ok(Edited {
        files,
        config,
        place,
        taken_from: done.taken_from,
    })
}

struct Done {
    /// Number of the file, and line.
    place: Option<(usize, usize)>,
    taken_from: Vec<&'static str>,
}

/// The last file that `has` it, since a later one overrides; else the first, or where there is `section`.
fn home(texts: &[String], section: &[&str], has: impl Fn(&str) -> bool) -> usize {
    if let Some(file) = texts.iter().rposition(|text| has(text)) {
        return file;
    }
    let fits = |text: &String| splice::has(text, section);
    match texts.first().is_some_and(fits) {
        true => 0,
        false => texts.iter().rposition(fits).unwrap_or(0),
    }
}

fn quoted(text: &str) -> String {
    format!("\"{text}\"")
}

fn set_mode(texts: &mut [String], mode: Mode, comment: Option<&str>) -> Option<Done> {
    let word = match mode {
        Mode::Observe => "observe",
        Mode::Enforce => "enforce",
    };
    let path = ["mode"];
    let file = home(texts, &path, |text| splice::has(text, &path));
    let text = texts.get_mut(file)?;
    *text = splice::set(text, &path, &quoted(word), comment)?;
    Some(Done {
        place: Some((file, splice::line_of(text, &path, None)?)),
        taken_from: Vec::new(),
    })
}

/// The key of `code` as the text spells it.
fn country_key(text: &str, code: CountryCode) -> Option<String> {
    splice::keys(text, &COUNTRIES)
        .into_iter()
        .find(|key| countries::parse(key).is_ok_and(|found| found == code))
}

fn set_country(
    texts: &mut [String],
    code: CountryCode,
    word: &str,
    comment: Option<&str>,
) -> Option<Done> {
    let file = home(texts, &COUNTRIES, |text| country_key(text, code).is_some());
    let text = texts.get_mut(file)?;
    let key = country_key(text, code).unwrap_or_else(|| code.to_string());
    let path = [COUNTRIES[0], COUNTRIES[1], &key];
    *text = splice::set(text, &path, &quoted(word), comment)?;
    Some(Done {
        place: Some((file, splice::line_of(text, &path, None)?)),
        taken_from: Vec::new(),
    })
}

fn remove_country(texts: &mut [String], code: CountryCode) -> Option<Done> {
    let mut taken_from = Vec::new();
    for text in texts {
        if let Some(key) = country_key(text, code) {
            *text = splice::remove(text, &[COUNTRIES[0], COUNTRIES[1], &key])?;
            taken_from = vec!["[policy.countries]"];
        }
    }
    Some(Done {
        place: None,
        taken_from,
    })
}

fn index_of(text: &str, prefix: IpNetwork, list: List) -> Option<usize> {
    splice::items(text, &list.path())
        .iter()
        .position(|item| parse_prefix(item).is_ok_and(|found| found == prefix))
}

struct Taken {
    lists: Vec<&'static str>,
    /// Number of the first file that named it.
    file: Option<usize>,
    /// The comment that stood beside it.
    comment: Option<String>,
}

fn take_prefix(texts: &mut [String], prefix: IpNetwork) -> Option<Taken> {
    let mut taken = Taken {
        lists: Vec::new(),
        file: None,
        comment: None,
    };
    for (file, text) in texts.iter_mut().enumerate() {
        for list in List::ALL {
            while let Some(index) = index_of(text, prefix, list) {
                let (without, comment) = splice::take(text, &list.path(), index)?;
                *text = without;
                taken.file.get_or_insert(file);
                taken.comment = taken.comment.or(comment);
                if !taken.lists.contains(&list.title()) {
                    taken.lists.push(list.title());
                }
            }
        }
    }
    Some(taken)
}

fn set_prefix(
    texts: &mut [String],
    prefix: IpNetwork,
    list: List,
    comment: Option<&str>,
) -> Option<Done> {
    let path = list.path();
    let mut naming = texts.iter().flat_map(|text| {
        List::ALL.into_iter().flat_map(move |list| {
            splice::items(text, &list.path())
                .into_iter()
                .filter(move |item| parse_prefix(item).is_ok_and(|found| found == prefix))
                .map(move |_| list)
        })
    });
    let is_right_already = naming.next() == Some(list) && naming.next().is_none();
    drop(naming);
    if is_right_already && comment.is_none() {
        let place = texts.iter().enumerate().find_map(|(file, text)| {
            let index = index_of(text, prefix, list)?;
            Some((file, splice::line_of(text, &path, Some(index))?))
        });
        return Some(Done {
            place,
            taken_from: Vec::new(),
        });
    }
    let taken = take_prefix(texts, prefix)?;
    let comment = comment.map(str::to_owned).or(taken.comment);
    let file = taken
        .file
        .unwrap_or_else(|| home(texts, &path[..1], |text| splice::has(text, &path)));
    let text = texts.get_mut(file)?;
    *text = splice::push(text, &path, &quoted(&written(prefix)), comment.as_deref())?;
    let index = index_of(text, prefix, list)?;
    Some(Done {
        place: Some((file, splice::line_of(text, &path, Some(index))?)),
        taken_from: taken
            .lists
            .into_iter()
            .filter(|title| *title != list.title())
            .collect(),
    })
}

/// A single address goes without its length, as people write it.
fn written(prefix: IpNetwork) -> String {
    let whole = if prefix.is_ipv4() { 32 } else { 128 };
    match prefix.prefix() == whole {
        true => prefix.ip().to_string(),
        false => prefix.to_string(),
    }
}

/// What the config is to be after `change`.
fn expected(before: &Config, change: &Change) -> Config {
    let mut config = before.clone();
    let policy = &mut config.policy;
    match change {
        Change::Mode(mode) => config.mode = *mode,
        Change::NoCountry(code) => {
            policy.countries.remove(code);
        }
        Change::Country(code, action) => {
            let action = match action {
                CountryAction::Allow => Action::Allow,
                CountryAction::Deny => Action::Deny,
                // A limit that is not there was refused before this.
                CountryAction::AllowWithin(name) => {
                    policy.limit_index(name).map_or(Action::Deny, Action::Limit)
                }
            };
            policy.countries.insert(*code, action);
        }
        Change::NoPrefix(prefix) | Change::Prefix(prefix, _) => {
            for list in List::ALL {
                list.of(policy).retain(|other| other != prefix);
            }
            if let Change::Prefix(_, list) = change {
                list.of(policy).push(*prefix);
            }
        }
    }
    config
}

/// In which order the prefixes stand makes no difference.
fn sorted(config: &Config) -> Config {
    let mut config = config.clone();
    for list in List::ALL {
        list.of(&mut config.policy).sort();
    }
    config
}
