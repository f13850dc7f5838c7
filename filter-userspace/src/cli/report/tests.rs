use clap::Parser as _;

use super::*;
use crate::cli::{Cli, Verb};

fn args(line: &str) -> Args {
    let words = ["cerco", "report"]
        .into_iter()
        .chain(line.split_whitespace());
    match Cli::try_parse_from(words).unwrap().verb {
        Verb::Report(args) => args,
        other => panic!("{other:?}"),
    }
}

fn chosen(line: &str, json: bool) -> Result<Format, u8> {
    let args = args(line);
    let target = match &args.output {
        Some(path) => Target::File(path.clone()),
        None => Target::Stdout,
    };
    format(&args, &target, json).map_err(|failure| failure.code)
}

#[test]
fn format_is_what_was_asked_for_or_what_the_name_says() {
    let cases = [
        ("", false, Ok(Format::Html)),
        ("", true, Ok(Format::Json)),
        ("-o a.html", false, Ok(Format::Html)),
        ("-o a.HTM", false, Ok(Format::Html)),
        ("-o a.json", false, Ok(Format::Json)),
        ("-o a.b.csv", false, Ok(Format::Csv)),
        ("-o incident", false, Ok(Format::Html)),
        ("-o a.pdf", false, Err(2)),
        ("-o a.pdf --format html", false, Ok(Format::Html)),
        ("-o a.html --format csv", false, Ok(Format::Csv)),
        ("-o a.html", true, Ok(Format::Json)),
        ("--format json", true, Ok(Format::Json)),
        ("--format csv", true, Err(2)),
    ];
    for (line, json, expected) in cases {
        assert_eq!(chosen(line, json), expected, "{line} {json}");
    }
}

#[test]
fn file_is_replaced_whole_and_only_its_group_reads_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("incident.html");
    let other = directory.path().join("other");
    std::fs::write(&other, "untouched").unwrap();
    std::os::unix::fs::symlink(&other, &path).unwrap();
    write(&path, b"one").unwrap();
    write(&path, b"two").unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"two");
    let mode = std::fs::symlink_metadata(&path)
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, FILE_MODE);
    // A link is replaced and not followed.
    assert_eq!(std::fs::read(&other).unwrap(), b"untouched");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 2);
    let failure = write(Path::new("/nonexistent/a.html"), b"").unwrap_err();
    assert!(
        failure
            .message
            .starts_with("failed to write /nonexistent/a.html: "),
        "{failure:?}"
    );
}

#[test]
fn signature_of_an_earlier_report_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("incident.html");
    assert_eq!(earlier_signature(&path), None);
    let beside = directory.path().join("incident.html.minisig");
    std::fs::write(&beside, "untrusted comment").unwrap();
    let warning = earlier_signature(&path).unwrap();
    assert!(
        warning.starts_with(&format!("{} is of an earlier report", beside.display())),
        "{warning}"
    );
    assert!(beside.exists());
}

#[test]
fn what_cannot_go_well_is_refused_at_once() {
    let refused = |line: &str| {
        let args = args(line);
        let target = match args.output.as_deref() {
            Some(path) if path != Path::new("-") => Target::File(path.to_owned()),
            _ => Target::Stdout,
        };
        check(&args, &target, Format::Json)
            .err()
            .map(|it| it.message)
    };
    assert_eq!(
        refused("-o /dev/null").unwrap(),
        "/dev/null is no regular file"
    );
    assert_eq!(
        refused("-o - --sign").unwrap(),
        "--sign needs a file: the signature is written beside it"
    );
    assert_eq!(refused("-o -"), None);
    assert!(Cli::try_parse_from(["cerco", "report", "--sign"]).is_err());
}
