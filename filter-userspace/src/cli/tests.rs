use super::*;

#[test]
fn definitions_are_consistent() {
    command().debug_assert();
}

#[test]
fn every_help_fits_80_columns_and_shows_an_example() {
    let mut root = command();
    root.build();
    let mut verbs = 0;
    for verb in root.get_subcommands_mut() {
        if verb.get_name() == "help" {
            continue;
        }
        verbs += 1;
        let name = verb.get_name().to_owned();
        let help = verb.render_long_help().to_string();
        assert!(help.contains("Example"), "{name} shows no example:\n{help}");
        assert!(
            help.split("Example")
                .nth(1)
                .is_some_and(|examples| examples.contains(&format!("cerco {name}"))),
            "{name}:\n{help}"
        );
        for line in help.lines() {
            assert!(line.chars().count() <= 80, "{name}: {line}");
        }
    }
    assert_eq!(verbs, 29);
    for line in root.render_long_help().to_string().lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
}

#[test]
fn good_lines_parse() {
    for line in [
        "run -c /tmp/a.toml -vv",
        "check --example",
        "status --json",
        "explain 192.0.2.1 --port 443/tcp",
        "explain 2001:db8::1 --port ping",
        "countries --list --json",
        "report --since 48h -o incident.html --sign --secret-key key",
        "report --format csv --country us --until 2026-11-26",
        "top",
        "top --once --json --interval 2s",
        "allow mo --limit residents --for 10m --comment why",
        "deny 203.0.113.0/24 --force",
        "trust 192.0.2.1",
        "ban 2001:db8::/48 --for 7days",
        "ban --file - --for 25h",
        "unban 192.0.2.1",
        "bans",
        "rules",
        "rules remove CN",
        "rules remove CN --permanent --force",
        "diff --json",
        "allow PT --permanent --comment why",
        "observe --permanent",
        "enforce --permanent --yes",
        "observe",
        "enforce --yes --force",
        "enforce --dry-run --json",
        "rules remove CN --force",
        "trust 192.0.2.1 --force",
        "reload --no-color",
        "geo lookup 192.0.2.1 2001:db8::1",
        "geo status",
        "geo diff",
        "geo diff new.mmdb --all",
        "geo diff 4 --prefixes=MO --json",
        "geo diff --prefixes",
        "geo accept --yes --force",
        "geo rollback",
        "geo rollback 4 --force",
        "geo update",
        "geo update --from dbip-lite --retries 0 --timeout 90s --accept",
        "bench --quick --json",
        "history",
        "history --since 7days --by day --country us --json",
        "history --since 2026-11-24 --until 2026-11-25T06:00:00Z --reason banned",
        "doctor -v --json",
        "detach --force",
        "completions zsh",
        "man /tmp/man",
    ] {
        let words = std::iter::once("cerco").chain(line.split(' '));
        if let Err(error) = Cli::try_parse_from(words) {
            panic!("{line}: {error}");
        }
    }
}

#[test]
fn bad_lines_say_what_would_be_right() {
    let cases = [
        ("ban 192.0.2.1", "--for <DURATION>"),
        ("ban 192.0.2.1 --for 0s", "less than a second"),
        ("ban 192.0.2.1 --for soon", "expected a duration like 90s"),
        (
            "ban 192.0.2.1/24 --for 1h",
            "write \"192.0.2.0/24\" for the network",
        ),
        ("ban --for 1h", "<ADDRESS|PREFIX>"),
        ("ban 192.0.2.1 --file x --for 1h", "cannot be used with"),
        ("allow MOO", "did you mean MO (Macao)?"),
        ("trust MO", "is no address or prefix"),
        (
            "explain 192.0.2.1 --port http",
            "expected PORT/tcp, PORT/udp or ping",
        ),
        ("explain host.example", "invalid"),
        ("geo lookup", "<ADDRESS>"),
        ("enforcing", "a similar subcommand exists: 'enforce'"),
    ];
    for (line, expected) in cases {
        let words = std::iter::once("cerco").chain(line.split(' '));
        let error = Cli::try_parse_from(words).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{line}");
        let text = error.to_string();
        assert!(text.contains(expected), "{line}: {text}");
    }
}

#[test]
fn version_names_the_source_of_the_data() {
    let error = Cli::try_parse_from(["cerco", "--version"]).unwrap_err();
    assert!(
        error.to_string().contains("IP Geolocation by DB-IP"),
        "{error}"
    );
}

#[test]
fn no_daemon_exits_with_3_and_names_the_next_step() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("none.sock");
    let failure = Failure::from(client::ask(&path, Request::Status, None).unwrap_err());
    assert_eq!(failure.code, 3);
    let hint = failure.hint.unwrap();
    assert!(hint.contains("systemctl start cerco"), "{hint}");
    assert!(hint.contains("cerco status"), "{hint}");
}
