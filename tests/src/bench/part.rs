//! The parts of the benchmark. A new part is a module with `measure`, and its line in [`Part::measure`].

use anyhow::Result;
use serde::Serialize;

use super::{context::Context, growth, limiter, loading, lookup, path, program, row::Row};

/// A part that can be asked for alone, with `--only`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// One look-up in the table
    Lookup,
    /// The whole XDP program, frame by frame
    Program,
    /// Frames through a link, all dropped
    Path,
    /// The limiter under spoofed sources
    Limiter,
    /// From a file to the kernel, changes, memory
    Loading,
    /// From 1,000 to 2 million networks
    Growth,
}

impl Part {
    /// In the order in which they are measured and shown. Loading comes first, while the process has
    /// little memory, as a daemon that starts.
    pub const ALL: [Self; 6] = [
        Self::Loading,
        Self::Lookup,
        Self::Program,
        Self::Path,
        Self::Limiter,
        Self::Growth,
    ];

    pub const fn title(self) -> &'static str {
        match self {
            Self::Lookup => "Lookup alone",
            Self::Program => "The whole program",
            Self::Path => "Packet path",
            Self::Limiter => "Limiter under spoofing",
            Self::Loading => "Loading and memory",
            Self::Growth => "Growth",
        }
    }

    /// Measures this part. What cannot be measured here is told to [`Context::missing`].
    pub(super) fn measure(self, context: &Context) -> Result<Vec<Row>> {
        match self {
            Self::Lookup => lookup::measure(context),
            Self::Program => program::measure(context),
            Self::Path => path::measure(context),
            Self::Limiter => limiter::measure(context),
            Self::Loading => loading::measure(context),
            Self::Growth => growth::measure(context),
        }
    }
}
