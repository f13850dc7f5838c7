//! One line on the terminal that says what goes on; nothing where there is no terminal.

use std::{
    io::{IsTerminal, Write, stderr},
    sync::{Mutex, MutexGuard},
    time::{Duration, Instant},
};

const REDRAW: Duration = Duration::from_millis(200);

#[derive(Debug)]
pub struct Progress {
    is_terminal: bool,
    title: String,
    line: Mutex<Line>,
}

#[derive(Debug)]
struct Line {
    step: String,
    drawn: Instant,
}

impl Progress {
    /// `title` stands in front of every step.
    pub fn new(title: &str) -> Self {
        Self {
            is_terminal: stderr().is_terminal(),
            title: title.to_owned(),
            line: Mutex::new(Line {
                step: String::new(),
                drawn: Instant::now(),
            }),
        }
    }

    /// A new thing begins.
    pub fn step(&self, text: &str) {
        let mut line = self.line();
        line.step = text.to_owned();
        self.draw(&mut line, "");
    }

    /// So much of the current thing is done.
    pub fn share(&self, done: u64, all: u64) {
        let mut line = self.line();
        if line.drawn.elapsed() >= REDRAW {
            self.draw(&mut line, &format!(" {} %", done * 100 / all.max(1)));
        }
    }

    /// Takes the line away.
    pub fn done(&self) {
        if self.is_terminal {
            eprint!("\r\x1b[K");
        }
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn draw(&self, line: &mut Line, tail: &str) {
        line.drawn = Instant::now();
        if self.is_terminal {
            eprint!("\r\x1b[K{}: {}{tail}", self.title, line.step);
            // A terminal that does not take the line is no reason to stop the demo.
            let _ = stderr().flush();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.done();
    }
}
