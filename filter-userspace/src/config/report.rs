//! What is wrong with a config: each fault with its file, line, column and a marked excerpt.

use std::{fmt, ops::Range, path::PathBuf};

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet, renderer::DecorStyle};

/// One config file as it was read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SourceFile {
    pub path: PathBuf,
    pub text: String,
}

/// Bytes `span` of file number `file`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    pub file: usize,
    pub span: Range<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Severity {
    Error,
    Warning,
}

/// One fault, or one doubt.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Diagnostic {
    pub severity: Severity,
    /// What is wrong, with key and value.
    pub title: String,
    /// Where, when it is somewhere.
    pub place: Option<Place>,
    /// What would be right, shown beside the marked excerpt.
    pub label: String,
    /// The next step.
    pub help: Option<String>,
}

/// All faults of one reading of the config.
#[derive(Debug, Default)]
pub struct Report {
    pub files: Vec<SourceFile>,
    pub diagnostics: Vec<Diagnostic>,
}

impl Report {
    pub fn has_errors(&self) -> bool {
        self.diagnostics
            .iter()
            .any(|diagnostic| diagnostic.severity == Severity::Error)
    }

    /// The warnings, one line each, for a log or a list.
    pub fn warning_lines(&self) -> Vec<String> {
        self.diagnostics
            .iter()
            .filter(|diagnostic| diagnostic.severity == Severity::Warning)
            .map(|diagnostic| {
                let file = diagnostic
                    .place
                    .as_ref()
                    .and_then(|place| self.files.get(place.file))
                    .map_or(String::new(), |file| format!("{}: ", file.path.display()));
                format!("{file}{}: {}", diagnostic.title, diagnostic.label)
            })
            .collect()
    }

    /// `FILE:LINE:COLUMN` of a diagnostic, when it is somewhere.
    pub fn place_of(&self, diagnostic: &Diagnostic) -> Option<String> {
        let place = diagnostic.place.as_ref()?;
        let file = self.files.get(place.file)?;
        let before = file.text.get(..place.span.start)?;
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default();
        let column = column.chars().count() + 1;
        Some(format!("{}:{line}:{column}", file.path.display()))
    }

    /// Records an error at `place`.
    pub fn error(&mut self, place: Place, title: impl Into<String>, label: impl Into<String>) {
        self.push(Severity::Error, Some(place), title, label, None);
    }

    pub(super) fn push(
        &mut self,
        severity: Severity,
        place: Option<Place>,
        title: impl Into<String>,
        label: impl Into<String>,
        help: Option<String>,
    ) {
        self.diagnostics.push(Diagnostic {
            severity,
            title: title.into(),
            place,
            label: label.into(),
            help,
        });
    }

    /// All diagnostics as text for a terminal, one empty line between two.
    pub fn render(&self, color: bool) -> String {
        let renderer = if color {
            Renderer::styled()
        } else {
            Renderer::plain()
        };
        let renderer = renderer.decor_style(DecorStyle::Ascii).term_width(80);
        let rendered: Vec<String> = self
            .diagnostics
            .iter()
            .map(|diagnostic| self.render_one(&renderer, diagnostic))
            .collect();
        rendered.join("\n\n")
    }

    /// All of it as what a message says, whose first line alone tells what is wrong.
    pub fn sentence(&self) -> String {
        let text = self.render(false);
        let first = text.strip_prefix("error: ").unwrap_or(&text);
        format!("the config is wrong: {first}")
    }

    fn render_one(&self, renderer: &Renderer, diagnostic: &Diagnostic) -> String {
        let level = match diagnostic.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let mut group = Group::with_title(level.primary_title(diagnostic.title.as_str()));
        if let Some(place) = &diagnostic.place
            && let Some(file) = self.files.get(place.file)
        {
            group = group.element(
                Snippet::source(file.text.as_str())
                    .path(file.path.to_string_lossy().into_owned())
                    .annotation(
                        AnnotationKind::Primary
                            .span(place.span.clone())
                            .label(diagnostic.label.as_str()),
                    ),
            );
        } else if !diagnostic.label.is_empty() {
            group = group.element(Level::NOTE.message(diagnostic.label.as_str()));
        }
        if let Some(help) = &diagnostic.help {
            group = group.element(Level::HELP.message(help.as_str()));
        }
        renderer.render(&[group])
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Report {}
