//! Each layout: what the file said, what was asked for, and the exact text after it.

use std::path::Path;

use super::*;

/// `=== name`, a line as one types it, a config, `---`, the config after it; repeated.
const CASES: &str = include_str!("cases.txt");

fn file(name: &str, text: &str) -> SourceFile {
    SourceFile {
        path: Path::new(name).to_owned(),
        text: text.to_owned(),
    }
}

/// `allow CN within residents # why`
fn change(line: &str) -> (Change, Option<String>) {
    let (line, comment) = match line.split_once(" # ") {
        Some((line, comment)) => (line, Some(comment.to_owned())),
        None => (line, None),
    };
    let words: Vec<&str> = line.split(' ').collect();
    let country = |text: &str| countries::parse(text);
    let change = match words[..] {
        ["observe"] => Change::Mode(Mode::Observe),
        ["enforce"] => Change::Mode(Mode::Enforce),
        [verb, target] => match (verb, country(target)) {
            ("allow", Ok(code)) => Change::Country(code, CountryAction::Allow),
            ("deny", Ok(code)) => Change::Country(code, CountryAction::Deny),
            ("remove", Ok(code)) => Change::NoCountry(code),
            ("allow", _) => Change::Prefix(parse_prefix(target).unwrap(), List::Allow),
            ("deny", _) => Change::Prefix(parse_prefix(target).unwrap(), List::Deny),
            ("trust", _) => Change::Prefix(parse_prefix(target).unwrap(), List::Trusted),
            _ => Change::NoPrefix(parse_prefix(target).unwrap()),
        },
        ["allow", code, "within", limit] => Change::Country(
            country(code).unwrap(),
            CountryAction::AllowWithin(limit.to_owned()),
        ),
        _ => panic!("{line}"),
    };
    (change, comment)
}

fn edited(files: &[SourceFile], line: &str) -> Result<Edited, EditError> {
    let (change, comment) = change(line);
    edit(files, &change, comment.as_deref())
}

/// The only file after `line`.
fn after(text: &str, line: &str) -> String {
    let mut edited = edited(&[file("cerco.toml", text)], line)
        .unwrap_or_else(|error| panic!("{line}: {error}\n{text}"));
    edited.files.remove(0).text
}

#[test]
fn every_layout_is_kept() {
    let mut got = String::new();
    let mut count = 0;
    for case in CASES.split("=== ").skip(1) {
        let (name, rest) = case.split_once('\n').unwrap();
        let (line, rest) = rest.split_once('\n').unwrap();
        let (before, _) = rest.split_once("---\n").unwrap();
        got += &format!("=== {name}\n{line}\n{before}---\n{}", after(before, line));
        count += 1;
    }
    assert_eq!(count, 52, "cases were lost");
    if std::env::var_os("CERCO_REWRITE_CASES").is_some() {
        std::fs::write("src/config/edit/cases.txt", &got).unwrap();
        return;
    }
    for (got, expected) in got.split("=== ").zip(CASES.split("=== ")) {
        assert_eq!(got, expected);
    }
}

#[test]
fn line_ends_and_the_end_of_the_file_stay() {
    let unix = "interfaces = [\"eth0\"]\n[policy.countries]\nMO = \"allow\" # a\n[rules]\ndeny = [\n  \
                \"192.0.2.0/24\",\n]\n";
    let windows = |text: &str| text.replace('\n', "\r\n");
    for line in [
        "allow PT # b",
        "deny MO # b",
        "remove MO",
        "deny 203.0.113.0/24 # b",
        "allow 203.0.113.0/24 # b",
        "trust 203.0.113.0/24",
        "allow 192.0.2.0/24",
        "remove 192.0.2.0/24",
        "enforce",
    ] {
        let expected = windows(&after(unix, line));
        assert_eq!(after(&windows(unix), line), expected, "{line}");
        let marked = format!("\u{feff}{}", windows(unix));
        assert_eq!(
            after(&marked, line),
            format!("\u{feff}{expected}"),
            "{line}"
        );
    }
    let no_newline = "interfaces = [\"eth0\"]\n[policy.countries]\nMO = \"allow\"";
    assert_eq!(
        after(no_newline, "allow PT"),
        format!("{no_newline}\nPT = \"allow\"")
    );
    assert_eq!(
        after(no_newline, "trust 192.0.2.1"),
        format!("{no_newline}\n\n[trusted]\nprefixes = [\"192.0.2.1\"]\n")
    );
    assert_eq!(
        after(&format!("{no_newline}\nPT = \"deny\""), "remove PT"),
        format!("{no_newline}\n")
    );
}

#[test]
fn file_that_speaks_of_the_target_is_changed() {
    let main = file(
        "cerco.toml",
        "interfaces = [\"eth0\"]\n[policy.countries]\nMO = \"allow\"\n",
    );
    let first = file(
        "10-a.toml",
        "mode = \"observe\"\n[policy.countries]\nMO = \"deny\"\nUS = \"deny\"\n",
    );
    let second = file(
        "20-b.toml",
        "[rules]\ndeny = [\n  \"203.0.113.0/24\", # a\n]\n",
    );
    let files = [main, first, second];
    // The line, the files that change, where it stands then, and where else something was taken away.
    type Case<'a> = (
        &'a str,
        &'a [usize],
        Option<(&'a str, usize)>,
        &'a [&'a str],
    );
    let cases: [Case<'_>; 9] = [
        ("allow PT", &[0], Some(("cerco.toml", 4)), &[]),
        ("allow MO", &[1], Some(("10-a.toml", 3)), &[]),
        ("allow US", &[1], Some(("10-a.toml", 4)), &[]),
        ("deny US", &[], Some(("10-a.toml", 4)), &[]),
        ("remove MO", &[0, 1], None, &["[policy.countries]"]),
        ("enforce", &[1], Some(("10-a.toml", 1)), &[]),
        // The first file has no [rules], the last one has.
        ("allow 192.0.2.1", &[2], Some(("20-b.toml", 5)), &[]),
        (
            "trust 203.0.113.0/24",
            &[2],
            Some(("20-b.toml", 6)),
            &["[rules] deny"],
        ),
        ("trust 192.0.2.1", &[0], Some(("cerco.toml", 6)), &[]),
    ];
    for (line, changed, place, taken_from) in cases {
        let edited = edited(&files, line).unwrap();
        let differ: Vec<usize> = (0..files.len())
            .filter(|at| edited.files[*at] != files[*at])
            .collect();
        assert_eq!(differ, changed, "{line}: {:?}", edited.files);
        let found = edited.place.as_ref();
        let found = found.map(|(path, line)| (path.to_str().unwrap(), *line));
        assert_eq!(found, place, "{line}: {:?}", edited.files);
        assert_eq!(edited.taken_from, taken_from, "{line}");
    }
}

#[test]
fn what_cannot_be_done_is_refused() {
    let good = "interfaces = [\"eth0\"]\n[policy.countries]\nMO = \"allow\"\n";
    let refused = |text: &str, line: &str| {
        let error = edited(&[file("cerco.toml", text)], line).unwrap_err();
        error.to_string()
    };
    let faulty = refused("interfaces = [\"eth0\"]\nmod = 1\n", "allow PT");
    for words in [
        "the config is wrong already",
        "unknown key `mod`",
        "cerco.toml:2:1",
    ] {
        assert!(faulty.contains(words), "{words}: {faulty}");
    }
    let limit = refused(good, "allow PT within gone");
    for words in ["would be wrong after this", "there is no limit \"gone\""] {
        assert!(limit.contains(words), "{words}: {limit}");
    }
    for line in ["remove PT", "remove 192.0.2.0/24"] {
        assert_eq!(refused(good, line), "the config says nothing about it");
    }
}

#[test]
fn ten_thousand_prefixes_are_edited_at_once() {
    let mut text = "interfaces = [\"eth0\"]\n[rules]\ndeny = [\n".to_owned();
    for number in 0..10_000_u32 {
        let [_, _, third, fourth] = number.to_be_bytes();
        text += &format!("    \"10.{third}.{fourth}.0/24\",  # number {number}\n");
    }
    text += "]\n";
    let began = std::time::Instant::now();
    let added = after(&text, "deny 203.0.113.0/24");
    let line = "    \"203.0.113.0/24\",\n";
    assert_eq!(added, text.replace("\n]\n", &format!("\n{line}]\n")));
    let removed = after(&text, "remove 10.19.136.0/24");
    let gone = "    \"10.19.136.0/24\",  # number 5000\n";
    assert_eq!(removed, text.replace(gone, ""));
    let moved = after(&text, "allow 10.0.0.0/24");
    assert!(
        moved.ends_with("]\nallow = [\n    \"10.0.0.0/24\",  # number 0\n]\n"),
        "{}",
        &moved[moved.len() - 200..]
    );
    // A tenth of a second each in a debug build.
    assert!(began.elapsed().as_secs() < 20, "{:?}", began.elapsed());
}

/// Texts of a list: what stands behind its first bracket, between two items, and before its last bracket.
const OPENINGS: [&str; 4] = ["", " ", "\n  ", " # opening\n\t"];
const GAPS: [&str; 6] = [
    ", ",
    ",",
    ",\n  ",
    ",  # gap\n  # own line\n  ",
    "\n  , ",
    " # before\n  ,  # behind\n  ",
];
const CLOSINGS: [&str; 6] = [
    "",
    " ",
    ",",
    ",\n",
    " # closing\n",
    ", # closing\n  # last\n",
];

/// A config with a list of `10.0.N.0/24`, laid out as the numbers say.
fn list_of(opening: usize, gaps: &[usize], closing: usize) -> String {
    let mut list = OPENINGS[opening].to_owned();
    for (number, gap) in gaps.iter().enumerate() {
        list += &format!("\"10.0.{number}.0/24\"");
        list += match number + 1 == gaps.len() {
            true => CLOSINGS[closing],
            false => GAPS[*gap],
        };
    }
    format!("interfaces = [\"eth0\"]\n[rules] # head\ndeny = [{list}] # end\nallow = []\n# foot\n")
}

fn comments(text: &str) -> Vec<&str> {
    let mut comments: Vec<&str> = text
        .lines()
        .filter_map(|line| line.split_once('#'))
        .map(|(_, comment)| comment.trim())
        .collect();
    comments.sort();
    comments
}

proptest::proptest! {
    /// `edit` itself refuses an outcome that says anything but what was asked for.
    #[test]
    fn lists_of_every_layout_can_be_changed(
        opening in 0..OPENINGS.len(),
        gaps in proptest::collection::vec(0..GAPS.len(), 0..6),
        closing in 0..CLOSINGS.len(),
        index in 0..6_usize,
    ) {
        let text = list_of(opening, &gaps, closing);
        let added = after(&text, "deny 192.0.2.0/24");
        proptest::prop_assert_eq!(comments(&added), comments(&text), "{}", added);
        let commented = after(&text, "deny 192.0.2.0/24 # new");
        let mut more = comments(&text);
        more.push("new");
        more.sort();
        proptest::prop_assert_eq!(comments(&commented), more, "{}", commented);
        if index < gaps.len() {
            // A comment beside the item goes with it; the others stay.
            let removed = after(&text, &format!("remove 10.0.{index}.0/24"));
            let left = comments(&text).len() - comments(&removed).len();
            proptest::prop_assert!(left <= 1, "{}\n{}", text, removed);
            let moved = after(&text, &format!("allow 10.0.{index}.0/24"));
            proptest::prop_assert_eq!(comments(&moved), comments(&text), "{}\n{}", text, moved);
        }
    }
}
