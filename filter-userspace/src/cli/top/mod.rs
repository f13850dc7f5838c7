//! `cerco top`: what the gate does, live.

mod document;
mod feed;
#[cfg(test)]
mod fixture;
mod keys;
mod live;
mod model;
mod places;
mod recent;
mod screen;
mod view;

use std::{
    io::{self, IsTerminal as _, Write as _},
    sync::mpsc,
    time::{Duration, Instant},
};

use serde::Serialize;

use self::{
    document::Document,
    feed::{Message, Pace},
    model::Model,
};
use super::{Context, Failure, duration, failure::NO_DAEMON};
use crate::{config::Paths, control::protocol::SCHEMA};

/// Show live what is dropped and passed: rates, countries, sources, ports
///
/// Rates come from counters and are exact. Sources, ports and events come from a sample of the dropped
/// frames (see `cerco events`). Without a daemon it shows what the kernel counts (as root). Nothing is changed
/// without a question; `?` shows the keys.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cerco top
  cerco top --once
  cerco top --once --json | jq '.countries[0]'
  cerco top --json --interval 10s >> attack.jsonl")]
pub struct Args {
    /// Print one screen of text after one interval, and end
    #[arg(long)]
    once: bool,
    /// How long rates are measured, as in 1s or 1m
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "1s")]
    interval: Duration,
}

pub fn run(args: Args, context: &Context) -> Result<(), Failure> {
    if args.once {
        return once(&args, context);
    }
    if context.output.is_json() {
        return stream(&args, context);
    }
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        return Err(Failure::bad_usage("this is no terminal")
            .hint("--once prints one screen, --json a document for each interval"));
    }
    live::run(context, args.interval)
}

/// How long after its interval the first sample waits for the events of before.
const LISTING_LIMIT: Duration = Duration::from_secs(5);

/// A model that has its first sample and follows the events.
struct Watch {
    model: Model,
    messages: mpsc::Receiver<Message>,
    paths: Paths,
}

impl Watch {
    fn begin(context: &Context) -> Result<Self, Failure> {
        let paths = context.paths();
        let mut model = Model::default();
        model.observe(feed::sample(&paths)?);
        let (sender, messages) = feed::channel();
        feed::follow_into(sender, paths.clone());
        Ok(Self {
            model,
            messages,
            paths,
        })
    }

    /// Takes events until `deadline`, and then a sample.
    fn sample_at(&mut self, deadline: Instant) -> Result<(), Failure> {
        self.take_until(deadline, |_| false);
        // A daemon that is slow to tell of events has some.
        self.take_until(deadline + LISTING_LIMIT, |model| model.following.is_some());
        let sample = feed::sample(&self.paths)?;
        self.model.take(Message::Sample(Box::new(sample)));
        Ok(())
    }
}

impl Watch {
    fn take_until(&mut self, deadline: Instant, is_enough: impl Fn(&Model) -> bool) {
        while !is_enough(&self.model) {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(message) = self.messages.recv_timeout(left) else {
                return;
            };
            self.model.take(message);
        }
    }
}

fn once(args: &Args, context: &Context) -> Result<(), Failure> {
    let mut watch = Watch::begin(context)?;
    watch.sample_at(Instant::now() + args.interval)?;
    let document = Document::of(&watch.model)
        .ok_or_else(|| Failure::failed("the clock stood still between two samples"))?;
    context
        .output
        .show(&document, |document, _| document::text(document))?;
    match document.daemon {
        true => Ok(()),
        false => Err(Failure::new(
            NO_DAEMON,
            "no daemon answers; this was read from the kernel, where the gate filters on",
        )),
    }
}

/// One document a line, until a signal or the reader ends it.
fn stream(args: &Args, context: &Context) -> Result<(), Failure> {
    #[derive(Serialize)]
    struct WithSchema<'a> {
        schema: u32,
        #[serde(flatten)]
        document: &'a Document,
    }
    let mut watch = Watch::begin(context)?;
    let mut pace = Pace::new(args.interval);
    loop {
        watch.sample_at(pace.next())?;
        let Some(document) = Document::of(&watch.model) else {
            continue;
        };
        let schema = SCHEMA;
        let document = &document;
        let line = serde_json::to_string(&WithSchema { schema, document })
            .map_err(|error| Failure::failed(error.to_string()))?;
        let mut out = io::stdout().lock();
        if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
            return Ok(());
        }
    }
}
