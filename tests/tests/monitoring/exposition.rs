//! What an exposition in OpenMetrics holds, without its values.

use std::collections::{BTreeMap, BTreeSet};

/// A family as `docs/metrics.md` has it in a line of its table.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Listed {
    /// Of its samples.
    pub name: String,
    pub kind: String,
    /// `–` where there is none, as for the labels.
    pub unit: String,
    /// Their names, with `, ` between.
    pub labels: String,
    pub help: String,
}

/// The families of an exposition in OpenMetrics, by the names of their samples.
pub fn families(body: &str) -> BTreeSet<Listed> {
    let mut families: BTreeMap<&str, Listed> = BTreeMap::new();
    let mut suffixes = BTreeMap::new();
    for line in body.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            let words: Vec<&str> = comment.splitn(3, ' ').collect();
            let [keyword, family, rest] = words[..] else {
                assert_eq!(comment, "EOF");
                continue;
            };
            let entry = families.entry(family).or_insert_with(|| Listed {
                name: String::new(),
                kind: String::new(),
                unit: "–".into(),
                labels: "–".into(),
                help: String::new(),
            });
            match keyword {
                "HELP" => entry.help = rest.to_owned(),
                "UNIT" => entry.unit = rest.to_owned(),
                "TYPE" => {
                    entry.kind = rest.to_owned();
                    suffixes.insert(
                        family,
                        match rest {
                            "counter" => "_total",
                            "info" => "_info",
                            _ => "",
                        },
                    );
                }
                other => panic!("{other}"),
            }
            continue;
        }
        let name = line.split(['{', ' ']).next().unwrap();
        let family = families
            .iter_mut()
            .find(|(family, _)| name == format!("{family}{}", suffixes[*family]));
        let (_, entry) = family.unwrap_or_else(|| panic!("{line} is of no family"));
        entry.name = name.to_owned();
        if let Some((labels, _)) = line.split_once('{').and_then(|(_, it)| it.split_once('}')) {
            let names: Vec<&str> = labels
                .split(',')
                .map(|label| label.split('=').next().unwrap())
                .collect();
            entry.labels = names.join(", ");
        }
    }
    families.into_values().collect()
}
