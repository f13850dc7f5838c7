//! What keys do.

use std::{net::IpAddr, time::Duration};

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::screen::{BAN_DURATIONS, DEFAULT_BAN, Focus, Over, Screen};
use crate::control::protocol::PacketKind;

/// What a key asks for beyond the screen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    Nothing,
    Quit,
    /// Ctrl-Z.
    Suspend,
    /// Ctrl-L: somebody else wrote to the terminal.
    Repaint,
    /// Why a source is dropped, for what it asked for last.
    Explain(IpAddr, Option<PacketKind>),
    /// Asked and confirmed.
    Ban(IpAddr, Duration),
}

pub fn press(screen: &mut Screen, key: KeyEvent) -> Action {
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return match key.code {
            KeyCode::Char('c') => Action::Quit,
            KeyCode::Char('z') => Action::Suspend,
            KeyCode::Char('l') => Action::Repaint,
            _ => Action::Nothing,
        };
    }
    match std::mem::take(&mut screen.over) {
        Over::Nothing => plain(screen, key.code),
        Over::Filter(before) => {
            type_filter(screen, before, key.code);
            Action::Nothing
        }
        Over::Ban(source, index) => question(screen, source, index, key.code),
        // Any key closes these, and `b` goes on to the question.
        Over::Explanation(explanation) if key.code == KeyCode::Char('b') => {
            screen.over = Over::Ban(explanation.address, DEFAULT_BAN);
            Action::Nothing
        }
        Over::Help | Over::Explanation(_) | Over::Answer(_) => Action::Nothing,
    }
}

fn plain(screen: &mut Screen, code: KeyCode) -> Action {
    let page = isize::try_from(screen.page).unwrap_or(1).max(1);
    match code {
        KeyCode::Char('q') => return Action::Quit,
        KeyCode::Char('?' | 'h') | KeyCode::F(1) => screen.over = Over::Help,
        KeyCode::Char('s') => screen.sort = screen.sort.next(),
        KeyCode::Char('m') => screen.large_map = !screen.large_map,
        KeyCode::Char('/') => screen.over = Over::Filter(screen.filter.clone()),
        KeyCode::Esc => screen.filter.clear(),
        KeyCode::Char(' ') => {
            screen.frozen = match screen.frozen {
                Some(_) => None,
                None => Some(Box::new(screen.model.clone())),
            };
        }
        KeyCode::Tab | KeyCode::BackTab => {
            screen.focus = match screen.focus {
                Focus::Sources => Focus::Countries,
                Focus::Countries => Focus::Sources,
            };
        }
        KeyCode::Up | KeyCode::Char('k') => screen.move_by(-1),
        KeyCode::Down | KeyCode::Char('j') => screen.move_by(1),
        KeyCode::PageUp => screen.move_by(-page),
        KeyCode::PageDown => screen.move_by(page),
        KeyCode::Home => screen.move_by(isize::MIN),
        KeyCode::End => screen.move_by(isize::MAX),
        KeyCode::Enter => match screen.focus {
            Focus::Sources => {
                let line = screen.source_line();
                return line.map_or(Action::Nothing, |it| {
                    Action::Explain(it.source, it.packet())
                });
            }
            Focus::Countries => filter_by_country(screen),
        },
        KeyCode::Char('b') => {
            if let Some(source) = screen.source() {
                screen.over = Over::Ban(source, DEFAULT_BAN);
            }
        }
        _ => {}
    }
    Action::Nothing
}

/// Enter on a country shows its sources alone, and all again.
fn filter_by_country(screen: &mut Screen) {
    let lines = screen.countries();
    let line = lines.get(screen.selected_country_in(&lines));
    let Some(class) = line.map(|it| it.class.clone()) else {
        return;
    };
    match screen.filter == class {
        true => screen.filter.clear(),
        false => screen.filter = class,
    }
}

fn type_filter(screen: &mut Screen, before: String, code: KeyCode) {
    match code {
        KeyCode::Enter => return,
        KeyCode::Esc => {
            screen.filter = before;
            return;
        }
        KeyCode::Backspace => {
            screen.filter.pop();
        }
        KeyCode::Char(letter) if screen.filter.chars().count() < 30 => screen.filter.push(letter),
        _ => {}
    }
    screen.over = Over::Filter(before);
}

/// Only `y` bans; Enter, which is pressed by the way, does not.
fn question(screen: &mut Screen, source: IpAddr, index: usize, code: KeyCode) -> Action {
    let index = match code {
        KeyCode::Char('y') => {
            let duration = humantime::parse_duration(BAN_DURATIONS[index]);
            return duration.map_or(Action::Nothing, |it| Action::Ban(source, it));
        }
        KeyCode::Char('n' | 'q') | KeyCode::Esc => return Action::Nothing,
        KeyCode::Left | KeyCode::Up => index.saturating_sub(1),
        KeyCode::Right | KeyCode::Down => (index + 1).min(BAN_DURATIONS.len() - 1),
        _ => index,
    };
    screen.over = Over::Ban(source, index);
    Action::Nothing
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::{
        super::{fixture, screen::Sort},
        *,
    };

    fn screen() -> Screen {
        let mut screen = Screen::default();
        let now = 1_800_000_000_000_000;
        screen.model.observe(fixture::sample(Instant::now(), 1_000));
        screen.model.events.begin(Vec::new(), true, now);
        // What events of one second stand for is shared out among them.
        for (source, packets) in [
            ("203.0.113.7", 30),
            ("203.0.113.8", 20),
            ("203.0.113.9", 10),
        ] {
            let event = fixture::event(now - packets * 100_000, source, 80, packets);
            screen.model.events.push(event);
        }
        screen.model.events.go_to(now);
        screen
    }

    fn types(screen: &mut Screen, codes: &[KeyCode]) -> Action {
        let press = |code: &KeyCode| press(screen, KeyEvent::from(*code));
        codes.iter().map(press).last().unwrap()
    }

    fn text(text: &str) -> Vec<KeyCode> {
        text.chars().map(KeyCode::Char).collect()
    }

    #[test]
    fn nothing_is_banned_without_a_question() {
        let mut screen = screen();
        let second: IpAddr = "203.0.113.8".parse().unwrap();
        let ask = [KeyCode::Down, KeyCode::Char('b')];
        assert_eq!(types(&mut screen, &ask), Action::Nothing);
        assert_eq!(screen.over, Over::Ban(second, DEFAULT_BAN));
        assert_eq!(types(&mut screen, &[KeyCode::Enter]), Action::Nothing);
        assert_eq!(types(&mut screen, &text("n")), Action::Nothing);
        assert_eq!(screen.over, Over::Nothing);
        assert_eq!(types(&mut screen, &text("y")), Action::Nothing);
        let hour = Duration::from_secs(3_600);
        assert_eq!(types(&mut screen, &text("by")), Action::Ban(second, hour));
        let longer = [&text("b")[..], &[KeyCode::Right; 9], &text("y")].concat();
        let week = Duration::from_secs(7 * 86_400);
        assert_eq!(types(&mut screen, &longer), Action::Ban(second, week));
    }

    #[test]
    fn selection_stays_with_its_source_when_the_order_changes() {
        let mut screen = screen();
        types(&mut screen, &[KeyCode::End]);
        assert_eq!(screen.source(), "203.0.113.9".parse().ok());
        let now = 1_800_000_000_000_000;
        let event = fixture::event(now, "203.0.113.9", 80, 1_000);
        screen.model.events.push(event);
        screen.model.events.go_to(now);
        assert_eq!(screen.sources()[0].source.to_string(), "203.0.113.9");
        assert_eq!(screen.source(), "203.0.113.9".parse().ok());
        types(&mut screen, &[KeyCode::Home]);
        let explain = types(&mut screen, &[KeyCode::Down, KeyCode::Enter]);
        let source = "203.0.113.7".parse().unwrap();
        let expected = Action::Explain(source, Some(PacketKind::Tcp(80)));
        assert_eq!(explain, expected);
    }

    #[test]
    fn filter_is_typed_kept_and_given_up() {
        let mut screen = screen();
        types(&mut screen, &text("/mox"));
        assert_eq!(screen.sources(), []);
        types(&mut screen, &[KeyCode::Backspace, KeyCode::Enter]);
        assert_eq!(
            (screen.filter.as_str(), &screen.over),
            ("mo", &Over::Nothing)
        );
        assert_eq!(screen.countries().len(), 1);
        types(&mut screen, &[KeyCode::Esc]);
        assert_eq!(screen.sources().len(), 3);
        types(&mut screen, &text("/united st"));
        assert_eq!((screen.sources().len(), screen.countries().len()), (3, 1));
        types(&mut screen, &[KeyCode::Esc]);
        assert_eq!(screen.filter, "");
        types(&mut screen, &text("/denied"));
        assert_eq!((screen.sources().len(), screen.countries().len()), (3, 2));
        // `q` is a letter there.
        assert_eq!(types(&mut screen, &text("q")), Action::Nothing);
    }

    #[test]
    fn country_filters_and_unfilters() {
        let mut screen = screen();
        let enter = [KeyCode::Tab, KeyCode::Down, KeyCode::Enter];
        types(&mut screen, &enter);
        assert_eq!(screen.filter, "MO");
        types(&mut screen, &[KeyCode::Enter]);
        assert_eq!(screen.filter, "");
    }

    #[test]
    fn frozen_screen_does_not_move() {
        let mut screen = screen();
        types(&mut screen, &text(" "));
        let now = 1_800_000_000_000_000;
        let event = fixture::event(now, "203.0.113.1", 80, 1);
        screen.model.events.push(event);
        screen.model.events.go_to(now);
        assert_eq!(screen.sources().len(), 3);
        types(&mut screen, &text(" "));
        assert_eq!(screen.sources().len(), 4);
    }

    #[test]
    fn sort_goes_round_and_control_keys_work_everywhere() {
        let mut screen = screen();
        types(&mut screen, &text("ss"));
        assert_eq!(screen.sort, Sort::Name);
        types(&mut screen, &text("s"));
        assert_eq!(screen.sort, Sort::Rate);
        types(&mut screen, &text("/"));
        let control = |letter| KeyEvent::new(KeyCode::Char(letter), KeyModifiers::CONTROL);
        assert_eq!(press(&mut screen, control('c')), Action::Quit);
        assert_eq!(press(&mut screen, control('z')), Action::Suspend);
        assert_eq!(types(&mut screen, &[KeyCode::Esc]), Action::Nothing);
        assert_eq!(types(&mut screen, &text("q")), Action::Quit);
    }
}
