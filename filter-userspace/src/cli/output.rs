//! What reaches the terminal: text or JSON, with colour only where somebody sees it.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use super::Failure;
use crate::control::{protocol::SCHEMA, reply::Done};

#[derive(Clone, Copy, Debug)]
pub struct Output {
    json: bool,
    color: bool,
    /// Whether stderr shows colours.
    pub error_color: bool,
}

#[derive(Serialize)]
struct WithSchema<'a, T: Serialize> {
    schema: u32,
    #[serde(flatten)]
    body: &'a T,
}

/// `body` as JSON with a `schema` number.
pub fn document<T: Serialize>(body: &T) -> Result<String, Failure> {
    let schema = SCHEMA;
    serde_json::to_string_pretty(&WithSchema { schema, body })
        .map(|text| text + "\n")
        .map_err(|error| Failure::failed(error.to_string()))
}

/// What an answer deserves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Paint {
    Good,
    Bad,
    Caution,
    Strong,
}

impl Output {
    pub fn new(json: bool, no_color: bool) -> Self {
        // https://no-color.org: set and not empty.
        let refused = no_color || std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
        Self {
            json,
            color: !refused && io::stdout().is_terminal(),
            error_color: !refused && io::stderr().is_terminal(),
        }
    }

    /// `body` as JSON, or what `text` makes of it.
    pub fn show<T: Serialize>(
        &self,
        body: &T,
        text: impl FnOnce(&T, &Self) -> String,
    ) -> Result<(), Failure> {
        let mut shown = match self.json {
            true => document(body)?,
            false => text(body, self),
        };
        if !shown.ends_with('\n') {
            shown.push('\n');
        }
        self.print(&shown)
    }

    /// A change that was made: its message on stdout, doubts on stderr.
    pub fn done(&self, done: &Done) -> Result<(), Failure> {
        if !self.json {
            for warning in &done.warnings {
                self.warn(warning);
            }
        }
        self.show(done, |done, _| done.message.clone())
    }

    pub fn print(&self, text: &str) -> Result<(), Failure> {
        match io::stdout().write_all(text.as_bytes()) {
            // `cerco countries | head` closes the pipe early, and that is its good right.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
            _ => Ok(()),
        }
    }

    pub fn warn(&self, text: &str) {
        let word = paint(self.error_color, Paint::Caution, "warning");
        eprintln!("{word}: {text}");
    }

    pub fn failure(&self, failure: &Failure) {
        if !failure.message.is_empty() {
            let word = paint(self.error_color, Paint::Bad, "error");
            eprintln!("{word}: {}", failure.message);
        }
        if let Some(hint) = &failure.hint {
            eprintln!("{hint}");
        }
    }

    pub fn paint(&self, paint_as: Paint, text: &str) -> String {
        paint(self.color, paint_as, text)
    }

    pub const fn is_json(&self) -> bool {
        self.json
    }

    /// Whether standard output shows colours.
    pub const fn shows_color(&self) -> bool {
        self.color
    }

    /// Text without colours, wherever it goes.
    pub const fn plain() -> Self {
        Self {
            json: false,
            color: false,
            error_color: false,
        }
    }
}

fn paint(color: bool, paint: Paint, text: &str) -> String {
    if !color {
        return text.to_owned();
    }
    // Select Graphic Rendition, ECMA-48 §8.3.117.
    let code = match paint {
        Paint::Good => 32,
        Paint::Bad => 31,
        Paint::Caution => 33,
        Paint::Strong => 1,
    };
    format!("\x1b[{code}m{text}\x1b[0m")
}
