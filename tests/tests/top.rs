//! The live view: what it counts, and what a person sees of it in a real terminal.

use integration_tests::{
    daemon::{Cerco, cerco_binary},
    poll,
    site::{ABROAD, MACAU, Site, parse},
    terminal::Terminal,
};
use serde_json::Value;
use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Child, Stdio},
    time::{Duration, Instant},
};

const LIMIT: Duration = Duration::from_secs(30);

/// The line of `list` in which `key` is `value`.
#[track_caller]
fn line<'a>(list: &'a Value, key: &str, value: &str) -> &'a Value {
    let lines = list.as_array().unwrap();
    lines
        .iter()
        .find(|it| it[key] == value)
        .unwrap_or_else(|| panic!("no {value} in {list}"))
}

/// Starts `cerco top` in a terminal, `before` it other words of the line.
fn start_in(terminal: &Terminal, cerco: &Cerco, before: &str) {
    start_binary_in(terminal, cerco, before, &cerco_binary().unwrap());
}

fn start_binary_in(terminal: &Terminal, cerco: &Cerco, before: &str, binary: &Path) {
    let line = format!(
        "{before} {} top -c {}; echo ended=$?",
        binary.display(),
        cerco.config_path().display()
    );
    terminal.enter(line.trim()).unwrap();
}

/// Wipes the screen; what is typed before this is over could be wiped, too.
fn clear(terminal: &Terminal) {
    terminal.enter("clear; echo cleared").unwrap();
    terminal
        .wait_until("see a clear screen", |it| it.starts_with("cleared\n$"))
        .unwrap();
}

/// Whether the shell reads lines again, with echo.
fn assert_restored(terminal: &Terminal, code: u8) {
    let screen = terminal.wait_for(&format!("ended={code}\n")).unwrap();
    // The line may be broken anywhere.
    let typed: String = screen.split_whitespace().collect();
    assert!(typed.contains("top-c"), "the screen of before: {screen}");
    terminal.enter("clear; stty -a").unwrap();
    let screen = terminal.wait_for("iexten").unwrap();
    for word in ["icanon", "isig", "echo"] {
        let is_set = screen.split_whitespace().any(|it| it == word);
        assert!(is_set, "{word}: {screen}");
    }
}

/// Waits until the process has its first sample: only then it begins the thread that follows the events.
fn wait_until_it_follows(child: &Child) {
    let threads = format!("/proc/{}/task", child.id());
    poll::until("see a follower", LIMIT, || {
        (fs::read_dir(&threads).unwrap().count() == 2).then_some(())
    })
    .unwrap();
}

#[test]
fn once_tells_what_was_sent_in_its_interval() {
    let site = Site::new().unwrap();
    let cerco = site.start().unwrap();
    // With those below, no more than a window lets through of one reason on one of two CPUs.
    site.send(ABROAD[0], 10).unwrap();
    site.send(MACAU[0], 5).unwrap();
    let began = Instant::now();
    let child = cerco
        .cli_command(&["top", "--once", "--json", "--interval", "4s"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    wait_until_it_follows(&child);
    site.send(ABROAD[0], 25).unwrap();
    site.send_to(443, ABROAD[1], 15).unwrap();
    site.send(MACAU[0], 50).unwrap();
    let output = child.wait_with_output().unwrap();
    let took = began.elapsed().as_secs_f64();
    assert_eq!(output.status.code(), Some(0));
    let document = parse(&String::from_utf8(output.stdout).unwrap());
    assert_eq!(document["daemon"], true);
    assert_eq!(document["mode"], "enforce");
    let seconds = document["interval_seconds"].as_f64().unwrap();
    assert!((4.0..took).contains(&seconds), "{seconds} of {took}");
    let dropped = line(&document["verdicts"], "verdict", "drop");
    assert_eq!(
        (&dropped["packets"], &dropped["total_packets"]),
        (&40.into(), &50.into())
    );
    // A SYN of IPv4 has 54 bytes, one of IPv6 74.
    assert_eq!(dropped["bytes"], 25 * 54 + 15 * 74);
    let rate = dropped["packets_per_second"].as_f64().unwrap();
    assert!((rate * seconds - 40.0).abs() < 1e-6, "{rate}");
    let reason = line(&document["reasons"], "reason", "country_denied");
    assert_eq!(reason["packets"], 40);
    let abroad = line(&document["countries"], "class", "US");
    assert_eq!(abroad["dropped"]["packets"], 40);
    assert_eq!(abroad["dropped_last_minute"], 40);
    let home = line(&document["countries"], "class", "MO");
    assert_eq!(
        (&home["passed"]["packets"], &home["dropped"]["packets"]),
        (&50.into(), &0.into())
    );
    assert_eq!(home["passed"]["total_packets"], 55);
    // So few frames are all sampled, those of before `top` began among them.
    let events = &document["events"];
    assert_eq!(
        (&events["packets"], &events["missed"]),
        (&50.into(), &0.into()),
        "{events}"
    );
    let source = line(&events["sources"], "source", ABROAD[0]);
    assert_eq!(
        (&source["packets"], &source["class"]),
        (&35.into(), &"US".into())
    );
    let services = events["services"].as_array().unwrap();
    let services: Vec<_> = services
        .iter()
        .map(|it| (&it["port"], &it["packets"]))
        .collect();
    assert_eq!(
        services,
        [(&80.into(), &35.into()), (&443.into(), &15.into())]
    );
}

#[test]
fn stream_adds_up_to_what_was_sent_and_goes_on_without_the_daemon() {
    let site = Site::new().unwrap();
    let mut cerco = site.start().unwrap();
    let mut child = cerco
        .cli_command(&["top", "--json"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || parse(&lines.next().unwrap().unwrap());
    let dropped = |document: &Value| {
        line(&document["verdicts"], "verdict", "drop")["packets"]
            .as_u64()
            .unwrap()
    };
    assert_eq!(dropped(&next()), 0);
    let mut sum = 0;
    for part in 0..3 {
        site.send(ABROAD[0], 70 + part).unwrap();
        sum += dropped(&next());
    }
    while sum < 213 {
        sum += dropped(&next());
    }
    assert_eq!(sum, 213);
    cerco.kill().unwrap();
    site.send(ABROAD[0], 40).unwrap();
    let mut sum = 0;
    let document = loop {
        let document = next();
        sum += dropped(&document);
        if document["daemon"] == false && sum >= 40 {
            break document;
        }
    };
    assert_eq!(sum, 40);
    assert_eq!(document["events"], Value::Null);
    assert_eq!(
        line(&document["countries"], "class", "US")["name"],
        "United States"
    );
    cerco.run().unwrap();
    while next()["events"].is_null() {}
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn once_without_a_daemon_reads_the_kernel_and_says_so() {
    let site = Site::new().unwrap();
    let mut cerco = site.start().unwrap();
    site.send(ABROAD[0], 30).unwrap();
    let with = cerco.try_cli(&["top", "--once"]);
    assert_eq!(with.code, 0, "{with:?}");
    assert!(
        with.stdout.contains("\n203.0.113.7  US    country_denied"),
        "{}",
        with.stdout
    );
    assert!(
        with.stdout.lines().all(|it| it.chars().count() <= 80),
        "{}",
        with.stdout
    );
    cerco.kill().unwrap();
    let without = cerco.try_cli(&["top", "--once"]);
    assert_eq!(without.code, 3, "{without:?}");
    assert!(
        without.stdout.contains("US      United States"),
        "{}",
        without.stdout
    );
    assert!(
        without
            .stdout
            .ends_with("sources and ports need the daemon\n")
    );
    assert!(
        without.stderr.contains("this was read from the kernel"),
        "{without:?}"
    );
    let no_terminal = cerco.try_cli(&["top"]);
    assert_eq!(no_terminal.code, 2, "{no_terminal:?}");
    assert!(
        no_terminal.stderr.contains("--once prints one screen"),
        "{no_terminal:?}"
    );
    cerco.cli(&["detach", "--force"]).unwrap();
    let nothing = cerco.try_cli(&["top", "--once"]);
    assert_eq!(nothing.code, 3, "{nothing:?}");
    assert!(
        nothing.stderr.contains("every packet passes"),
        "{nothing:?}"
    );
}

#[test]
fn live_view_shows_explains_and_bans_at_80x24() {
    let site = Site::new().unwrap();
    let mut cerco = site.start().unwrap();
    let terminal = Terminal::open(&site.host, 80, 24).unwrap();
    start_in(&terminal, &cerco, "");
    terminal.wait_for("cerco enforcing on eth0").unwrap();
    site.send(ABROAD[0], 35).unwrap();
    site.send_to(443, ABROAD[1], 5).unwrap();
    let screen = terminal
        .wait_until("see all that was sent", |screen| {
            screen.contains("stand for 40 packets") && screen.contains("@US")
        })
        .unwrap();
    let lines: Vec<&str> = screen.lines().collect();
    assert_eq!(lines.len(), 24, "{screen}");
    assert!(lines.iter().all(|it| it.chars().count() <= 80), "{screen}");
    let starts = |begin: &str| lines.iter().any(|it| it.starts_with(begin));
    assert!(starts(">203.0.113.7 "), "{screen}");
    assert!(starts(" 2001:db8:2::7 "), "{screen}");
    assert!(starts(" US United St…"), "{screen}");
    let total = lines.iter().find(|it| it.starts_with("dropped ")).unwrap();
    assert_eq!(total.split_whitespace().nth(3), Some("40"), "{screen}");
    let port = lines.iter().find(|it| it.contains(" 80/tcp ")).unwrap();
    assert!(port.trim_end().ends_with("87.5%"), "{screen}");
    assert!(lines[23].starts_with("q quit  ? help"), "{screen}");

    terminal.press(&["?"]).unwrap();
    terminal.wait_for("ban the source; asks first").unwrap();
    terminal.press(&["x"]).unwrap();
    // It stays there, in whatever order rates put the sources from now on.
    terminal.press(&["Home"]).unwrap();
    terminal.press(&["Enter"]).unwrap();
    terminal.wait_for("= is dropped (country_denied)").unwrap();
    terminal.press(&["b"]).unwrap();
    terminal.wait_for("ban 203.0.113.7?").unwrap();
    terminal.press(&["n"]).unwrap();
    terminal
        .wait_until("see the question go", |it| !it.contains("ban 203.0.113.7?"))
        .unwrap();
    assert_eq!(cerco.json(&["bans"])["bans"], Value::Array(Vec::new()));
    terminal.press(&["b", "Right", "y"]).unwrap();
    terminal.wait_for("(any key closes this)").unwrap();
    let bans = cerco.json(&["bans"]);
    assert_eq!(bans["bans"][0]["prefix"], "203.0.113.7/32");
    let left = bans["bans"][0]["remaining_seconds"].as_u64().unwrap();
    assert!((21_000..=21_600).contains(&left), "six hours: {left}");
    terminal.press(&["x"]).unwrap();

    terminal.press(&["/"]).unwrap();
    terminal.wait_for("filter: _").unwrap();
    terminal.press(&["m", "o", "Enter"]).unwrap();
    terminal
        .wait_until("see no source", |it| {
            it.contains("filter: mo ") && !it.contains("203.0.113.7 ")
        })
        .unwrap();
    terminal.press(&["Escape"]).unwrap();
    terminal.wait_for(">203.0.113.7").unwrap();

    terminal.press(&["Space"]).unwrap();
    terminal.wait_for("FROZEN").unwrap();
    site.send(ABROAD[1], 10).unwrap();
    terminal.press(&["Space"]).unwrap();
    terminal
        .wait_until("see it go on", |it| {
            !it.contains("FROZEN") && it.contains("stand for 50 packets")
        })
        .unwrap();

    terminal.resize(40, 10).unwrap();
    terminal
        .wait_until("see a small screen", |it| {
            it.lines().count() == 10 && it.contains("US Unit") && !it.contains("203.0.113.7")
        })
        .unwrap();
    terminal.resize(20, 5).unwrap();
    terminal.wait_for("too small").unwrap();
    terminal.resize(120, 40).unwrap();
    terminal
        .wait_until("see a large screen", |it| {
            it.lines().count() == 40 && it.contains(">203.0.113.7")
        })
        .unwrap();

    cerco.kill().unwrap();
    terminal
        .wait_for("no daemon answers: the kernel counts")
        .unwrap();
    site.send(ABROAD[1], 10).unwrap();
    terminal.wait_for("        60 ").unwrap();
    cerco.run().unwrap();
    terminal
        .wait_until("see the daemon again", |it| {
            !it.contains("no daemon answers") && it.contains("events, a sample: 0 in")
        })
        .unwrap();
    terminal.press(&["q"]).unwrap();
    assert_restored(&terminal, 0);
}

#[test]
fn terminal_is_given_back_on_signals_and_for_a_while_on_ctrl_z() {
    let site = Site::new().unwrap();
    let cerco = site.start().unwrap();
    let terminal = Terminal::open(&site.host, 80, 24).unwrap();
    let pid_file = terminal.directory().join("pid");
    let pid_of = format!("sh -c 'echo $$ > {}; exec \"$@\"' sh", pid_file.display());
    for signal in [libc::SIGTERM, libc::SIGHUP, libc::SIGINT] {
        clear(&terminal);
        start_in(&terminal, &cerco, &pid_of);
        terminal.wait_for("cerco enforcing on eth0").unwrap();
        let pid: i32 = fs::read_to_string(&pid_file)
            .unwrap()
            .trim()
            .parse()
            .unwrap();
        // SAFETY: kill takes no pointers; the process is a child of this test's terminal.
        assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
        assert_restored(&terminal, 0);
    }
    // A terminal that goes away takes it along.
    let closed = Terminal::open(&site.host, 80, 24).unwrap();
    start_in(&closed, &cerco, &pid_of);
    closed.wait_for("cerco enforcing on eth0").unwrap();
    let pid = fs::read_to_string(&pid_file).unwrap();
    drop(closed);
    let process = format!("/proc/{}", pid.trim());
    poll::until("see it end", LIMIT, || {
        (!Path::new(&process).exists()).then_some(())
    })
    .unwrap();
    clear(&terminal);
    start_in(&terminal, &cerco, "");
    terminal.wait_for("cerco enforcing on eth0").unwrap();
    terminal.press(&["C-z"]).unwrap();
    terminal.wait_for("Stopped").unwrap();
    terminal.enter("clear; stty -a").unwrap();
    assert!(terminal.wait_for("iexten").unwrap().contains(" icanon"));
    terminal.enter("fg").unwrap();
    terminal.wait_for("cerco enforcing on eth0").unwrap();
    terminal.press(&["C-c"]).unwrap();
    terminal
        .wait_until("see the shell again", |it| {
            !it.contains("cerco enforcing on eth0")
        })
        .unwrap();
}

#[test]
fn colours_are_shown_unless_they_are_not_wanted() {
    let site = Site::new().unwrap();
    let cerco = site.start().unwrap();
    // Foreground and background colours of SGR: 3x, 9x and 4x.
    let has_color = |painted: &str| {
        let codes = painted.split("\x1b[").skip(1);
        let mut codes = codes
            .filter_map(|it| it.split_once('m'))
            .flat_map(|it| it.0.split(';'));
        codes.any(|it| it.len() == 2 && it.starts_with(['3', '4', '9']) && it != "39" && it != "49")
    };
    for (before, colored) in [("", true), ("NO_COLOR=1", false)] {
        let terminal = Terminal::open(&site.host, 80, 24).unwrap();
        start_in(&terminal, &cerco, before);
        terminal.wait_for("cerco enforcing on eth0").unwrap();
        let painted = terminal.painted().unwrap();
        assert_eq!(has_color(&painted), colored, "{painted:?}");
        assert!(painted.contains("\x1b[1"), "bold at least: {painted:?}");
    }
    // A terminal that shows ASCII alone.
    let terminal = Terminal::open(&site.host, 80, 24).unwrap();
    start_in(&terminal, &cerco, "LC_ALL=C");
    let screen = terminal.wait_for("cerco enforcing on eth0").unwrap();
    assert!(screen.is_ascii(), "{screen}");
    assert!(screen.contains(".."), "the map is there: {screen}");
}

#[test]
fn ban_by_who_may_only_read_is_refused_and_said() {
    let site = Site::new().unwrap();
    let cerco = site.start().unwrap();
    // A member of the group is let through to the socket by its mode; here the test opens the way.
    let open = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    open(cerco.config_path().parent().unwrap(), 0o755);
    open(&cerco.socket(), 0o666);
    let binary = site.binary_for_all().unwrap();
    site.send(ABROAD[0], 3).unwrap();
    let terminal = Terminal::open(&site.host, 80, 24).unwrap();
    let nobody = "setpriv --reuid=65534 --regid=65534 --clear-groups";
    start_binary_in(&terminal, &cerco, nobody, &binary);
    terminal.wait_for(">203.0.113.7").unwrap();
    terminal.press(&["b", "y"]).unwrap();
    terminal
        .wait_for("not done: user 65534 may only read")
        .unwrap();
    assert_eq!(cerco.json(&["bans"])["bans"], Value::Array(Vec::new()));
    terminal.press(&["x", "q"]).unwrap();
    assert_restored(&terminal, 0);
}

#[test]
fn keys_that_come_at_once_are_taken_at_once() {
    let site = Site::new().unwrap();
    let cerco = site.start().unwrap();
    let terminal = Terminal::open(&site.host, 120, 24).unwrap();
    start_in(&terminal, &cerco, "");
    terminal.wait_for("cerco enforcing on eth0").unwrap();
    // One key in each turn of a tenth of a second would take forty seconds.
    let there_and_back = "abcdefghijklmnopqrst".to_owned() + &"\u{7f}".repeat(20);
    let keys = format!("/{}z", there_and_back.repeat(10));
    let began = Instant::now();
    terminal.paste(&keys).unwrap();
    terminal.wait_for("filter: z_").unwrap();
    let took = began.elapsed();
    println!("taken within {took:?}");
    assert!(took < Duration::from_secs(15), "{took:?}");
    terminal.press(&["Enter", "q"]).unwrap();
    terminal.wait_for("ended=0").unwrap();
}
