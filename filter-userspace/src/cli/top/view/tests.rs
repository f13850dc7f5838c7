use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use ratatui::{Terminal, backend::TestBackend};

use super::{super::fixture, *};
use crate::control::reply::TrialStatus;

const NOW: u64 = 1_800_000_000_000_000;

fn screen() -> Screen {
    let mut screen = Screen::default();
    let start = Instant::now();
    for (second, dropped) in [(0, 0), (1, 4_000), (2, 12_000), (3, 14_000)] {
        let at = start + Duration::from_secs(second);
        screen.model.observe(fixture::sample(at, dropped));
    }
    let events = &mut screen.model.events;
    events.begin(Vec::new(), true, NOW);
    for (source, port, packets) in [
        ("203.0.113.7", 80, 9_000),
        ("203.0.113.8", 443, 4_000),
        ("2001:db8:1234:5678:9abc:def0:1234:5678", 53, 1_000),
    ] {
        // What events of one second stand for is shared out among them.
        let at = NOW + packets * 1_000;
        events.push(fixture::event(at, source, port, packets));
    }
    screen.model.events.go_to(NOW + 10_000_000);
    screen.model.following = Some(Ok(()));
    screen
}

/// What a terminal of this size shows, without the blanks at the ends of lines.
fn shown(screen: &mut Screen, width: u16, height: u16, look: Look) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, screen, look)).unwrap();
    let buffer = terminal.backend().buffer();
    let lines = buffer
        .content
        .chunks(usize::from(width).max(1))
        .map(|cells| {
            let line: String = cells.iter().map(|cell| cell.symbol()).collect();
            format!("{}\n", line.trim_end())
        });
    lines.collect()
}

const PLAIN: Look = Look {
    color: false,
    ascii: false,
};

/// Compares with `screens/NAME.txt`.
#[track_caller]
fn expect(name: &str, shown: &str) {
    let screens = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli/top/view/screens");
    let expected = fs::read_to_string(screens.join(format!("{name}.txt"))).unwrap_or_default();
    assert!(
        shown == expected,
        "{name} is not\n{expected}but\n{shown}===\n"
    );
}

#[test]
fn screens_of_every_size_show_what_fits() {
    expect("80x24", &shown(&mut screen(), 80, 24, PLAIN));
}

#[test]
fn large_screen_has_more_of_all() {
    expect("120x40", &shown(&mut screen(), 120, 40, PLAIN));
}

#[test]
fn small_screen_keeps_rates_and_countries() {
    expect("40x10", &shown(&mut screen(), 40, 10, PLAIN));
    let smaller = shown(&mut screen(), 39, 10, PLAIN);
    assert!(
        smaller.starts_with("too small: needs 40x8\nq quits\n"),
        "{smaller}"
    );
    // No size may panic.
    for width in (0..130).step_by(7) {
        for height in 0..45 {
            for large_map in [false, true] {
                let mut screen = screen();
                screen.large_map = large_map;
                screen.over = Over::Help;
                shown(&mut screen, width, height, PLAIN);
            }
        }
    }
}

#[test]
fn ascii_screen_is_ascii() {
    let look = Look {
        color: false,
        ascii: true,
    };
    let shown = shown(&mut screen(), 80, 24, look);
    assert!(shown.is_ascii());
    expect("ascii", &shown);
}

#[test]
fn question_and_what_is_amiss_are_seen() {
    let mut asking = screen();
    asking.over = Over::Ban("203.0.113.7".parse().unwrap(), 1);
    asking.filter = "us".to_owned();
    asking.frozen = Some(Box::new(asking.model.clone()));
    if let Some(last) = &mut asking.frozen.as_mut().unwrap().last {
        last.daemon = false;
        last.trial = Some(TrialStatus {
            change: None,
            remaining_seconds: 98,
        });
    }
    expect("question", &shown(&mut asking, 80, 24, PLAIN));
}

#[test]
fn no_colour_is_set_without_colours() {
    let colors = |color| {
        let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
        let look = Look {
            color,
            ascii: false,
        };
        terminal
            .draw(|frame| draw(frame, &mut screen(), look))
            .unwrap();
        let cells = terminal.backend().buffer().content.iter();
        cells
            .filter(|it| it.fg != Color::Reset || it.bg != Color::Reset)
            .count()
    };
    assert_eq!(colors(false), 0);
    assert!(colors(true) > 100);
}
