//! Each row of ARCHITECTURE.md's table of failures names tests, and they are there.

use std::{collections::BTreeSet, fs, path::Path};

use crate::workspace;

const HEADER: &str = "| what | verdict | why | test |";

/// A row, and the words in its last column.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    what: String,
    tests: Vec<String>,
}

/// The rows of the table, or `None` when there is no such table.
fn rows(architecture: &str) -> Option<Vec<Row>> {
    let mut lines = architecture.lines().skip_while(|line| *line != HEADER);
    lines.next()?;
    let rows = lines.skip(1).take_while(|line| line.starts_with('|'));
    Some(
        rows.map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            // Every second piece between the quotation marks.
            let tests = cells.get(3).map_or("", |cell| *cell);
            Row {
                what: cells[0].to_owned(),
                tests: tests
                    .split('`')
                    .skip(1)
                    .step_by(2)
                    .map(str::to_owned)
                    .collect(),
            }
        })
        .collect(),
    )
}

/// The names of the functions behind `#[test]` below a directory.
fn tests_below(directory: &Path, found: &mut BTreeSet<String>) {
    let entries = fs::read_dir(directory).expect("read a directory of the sources");
    for entry in entries {
        let path = entry.expect("read a directory of the sources").path();
        if path.is_dir() {
            tests_below(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("read a source");
            found.extend(tests_in(&text));
        }
    }
}

fn tests_in(source: &str) -> Vec<String> {
    let mut lines = source.lines().map(str::trim);
    let mut names = Vec::new();
    while lines.any(|line| line == "#[test]") {
        let function = lines.by_ref().find_map(|line| line.strip_prefix("fn "));
        let name = function.and_then(|rest| rest.split('(').next());
        names.extend(name.map(str::to_owned));
    }
    names
}

#[test]
fn every_row_of_the_table_of_failures_names_tests_that_are_there() {
    let root = workspace::root();
    let text = fs::read_to_string(root.join("ARCHITECTURE.md")).expect("read ARCHITECTURE.md");
    let rows = rows(&text).expect("ARCHITECTURE.md has the table");
    assert!(rows.len() > 30, "the whole table is read: {rows:#?}");
    let mut tests = BTreeSet::new();
    for directory in [
        "filter-common/src",
        "filter-userspace/src",
        "tests/src",
        "tests/tests",
        "xtask/src",
    ] {
        tests_below(&root.join(directory), &mut tests);
    }
    let wrong: Vec<&Row> = rows
        .iter()
        .filter(|row| row.tests.is_empty() || !row.tests.iter().all(|test| tests.contains(test)))
        .collect();
    assert_eq!(
        wrong,
        Vec::<&Row>::new(),
        "rows that name no test, or one that is gone"
    );
}

#[test]
fn rows_and_tests_are_read_as_they_are_written() {
    let table = format!(
        "text\n{HEADER}\n|---|---|---|---|\n| a | `b` | c | `one`, `two` |\n| d | e | | |\n| f | g | h |\n\n| no |\n"
    );
    let row = |what: &str, tests: &[&str]| Row {
        what: what.to_owned(),
        tests: tests.iter().map(|test| (*test).to_owned()).collect(),
    };
    let expected = vec![row("a", &["one", "two"]), row("d", &[]), row("f", &[])];
    assert_eq!(rows(&table), Some(expected));
    assert_eq!(rows("| what |"), None);
    let source = "#[test]\nfn one() {\n    fn inner() {}\n}\nfn not() {}\n    #[test]\n    #[cfg(x)]\n    fn two() {}\n";
    assert_eq!(tests_in(source), ["one", "two"]);
}
