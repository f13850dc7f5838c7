//! The terminal: draws, reads keys, and leaves it as it was.

use std::{
    io,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use ipnetwork::IpNetwork;
use ratatui::{
    DefaultTerminal,
    crossterm::event::{self, Event, KeyEventKind},
};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};

use super::{
    super::{Context, Failure},
    feed::{self, Message},
    keys::{Action, press},
    screen::{Over, Screen},
    view::{self, Look},
};
use crate::control::{
    protocol::{PacketKind, Request},
    reply::{Done, Explanation},
};

/// The longest time between a message, or a signal, and its taking.
const TICK: Duration = Duration::from_millis(100);

/// How long after a signal the loop may still be busy.
const PATIENCE: Duration = Duration::from_secs(2);

/// Leaves the screen when it is dropped; a panic leaves it by the hook that `ratatui::try_init` sets.
struct Opened(DefaultTerminal);

impl Opened {
    fn open() -> io::Result<Self> {
        Ok(Self(ratatui::try_init()?))
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

pub fn run(context: &Context, interval: Duration) -> Result<(), Failure> {
    let paths = context.paths();
    let mut screen = Screen::default();
    // What cannot work is said where it can be read, not on a screen that goes away.
    screen.model.observe(feed::sample(&paths)?);
    let look = Look::of_environment(context.output.shows_color());
    let (sender, messages) = feed::channel();
    let is_over = Arc::new(AtomicBool::new(false));
    end_on_signals(is_over.clone())?;
    let mut terminal = Opened::open()?;
    feed::sample_into(sender.clone(), paths.clone(), interval);
    feed::follow_into(sender, paths);
    let mut is_old = true;
    loop {
        if is_old {
            terminal
                .0
                .draw(|frame| view::draw(frame, &mut screen, look))?;
            is_old = false;
        }
        wait_for_input()?;
        // All that waits, before it is drawn: over a slow line keys come faster than frames go.
        while event::poll(Duration::ZERO)? {
            is_old = true;
            if let Event::Key(key) = event::read()?
                && key.kind != KeyEventKind::Release
            {
                match press(&mut screen, key) {
                    Action::Nothing => {}
                    Action::Quit => return Ok(()),
                    Action::Repaint => terminal.0.clear()?,
                    Action::Suspend => terminal = suspend(terminal)?,
                    Action::Explain(source, packet) => {
                        screen.over = explain(context, source, packet);
                    }
                    Action::Ban(source, duration) => {
                        screen.over = Over::Answer(ban(context, source, duration));
                    }
                }
            }
        }
        if is_over.load(Ordering::Relaxed) {
            return Ok(());
        }
        while let Ok(message) = messages.try_recv() {
            match &message {
                // Once in an interval is often enough to draw: an SSH line may be slow.
                Message::Sample(_)
                | Message::Failed(..)
                | Message::NotFollowing(_)
                | Message::Began(..) => {
                    is_old = true;
                }
                Message::Event(_) | Message::Missed(_) => {}
            }
            screen.model.take(message);
        }
    }
}

/// Waits for a key, a signal or the end of a tick. Fails when the terminal has hung up.
///
/// crossterm 0.29 reads on for ever at the end of its input, so it must not be asked then.
fn wait_for_input() -> io::Result<()> {
    let mut wait = libc::pollfd {
        fd: libc::STDIN_FILENO,
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: pointer and count describe `wait`.
    let ready = unsafe { libc::poll(&raw mut wait, 1, TICK.as_millis() as libc::c_int) };
    // An interruption, as by a resize, is for crossterm to look at.
    if ready > 0 && wait.revents & (libc::POLLHUP | libc::POLLERR | libc::POLLNVAL) != 0 {
        return Err(io::Error::other("the terminal is gone"));
    }
    Ok(())
}

/// Not by a message: there may be no room for one.
fn end_on_signals(is_over: Arc<AtomicBool>) -> io::Result<()> {
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM])?;
    thread::spawn(move || {
        if signals.forever().next().is_some() {
            is_over.store(true, Ordering::Relaxed);
            // The loop may hang in the terminal or in a question; a signal ends it all the same.
            thread::sleep(PATIENCE);
            ratatui::restore();
            std::process::exit(1);
        }
    });
    Ok(())
}

/// Gives the terminal back to the shell until `fg`.
fn suspend(terminal: Opened) -> io::Result<Opened> {
    drop(terminal);
    // SAFETY: raise takes no pointers; SIGTSTP has its default action, which stops the process.
    unsafe { libc::raise(libc::SIGTSTP) };
    let mut terminal = Opened::open()?;
    terminal.0.clear()?;
    Ok(terminal)
}

fn explain(context: &Context, address: IpAddr, packet: Option<PacketKind>) -> Over {
    match context.ask::<Explanation>(Request::Explain { address, packet }) {
        Ok(explanation) => Over::Explanation(Box::new(explanation)),
        Err(failure) => Over::Answer(words(failure)),
    }
}

/// Bans as `cerco ban` does, and says what came of it.
fn ban(context: &Context, source: IpAddr, duration: Duration) -> String {
    let prefix = IpNetwork::from(source);
    // The daemon refuses what would cut somebody off.
    match context.ask::<Done>(Request::Ban { prefix, duration }) {
        Ok(done) => [vec![done.message], done.warnings].concat().join("\n"),
        Err(failure) => words(failure),
    }
}

fn words(failure: Failure) -> String {
    format!("not done: {}", failure.message)
}
