//! `cerco capture`: dropped frames into a file for Wireshark.

use std::{
    fs::OpenOptions,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::{Context, Failure, duration, events::Wanted};
use crate::{
    capture::Capture,
    control::{client::Follower, protocol::Request},
    events::Line,
};

/// Write frames that are dropped to a pcapng file, each with its reason and country as a comment
///
/// Opens in Wireshark and tshark. Holds the first 192 bytes of each frame, and the same sample as
/// `cerco events`. Only root may: packets carry what people write.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  sudo cerco capture -w attack.pcapng --for 1m
  sudo cerco capture -w banned.pcapng --reason banned --count 1000
  sudo cerco capture -w - | tshark -r -")]
pub struct Args {
    /// Where to write; `-` is the standard output
    #[arg(short, long, value_name = "FILE")]
    write: PathBuf,
    /// Stop after so many frames
    #[arg(long, value_name = "FRAMES", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Stop before the file gets larger than this, as in 500k, 10M or 1G
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    size: Option<u64>,
    /// Stop after this time, as in 90s or 10m
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    duration: Option<Duration>,
    #[command(flatten)]
    wanted: Wanted,
}

/// Where to stop, and where it stands.
struct Limits {
    frames: u64,
    bytes: u64,
    end: Option<Instant>,
}

pub fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let limits = Limits {
        frames: args.count.unwrap_or(u64::MAX),
        bytes: args.size.unwrap_or(u64::MAX),
        end: args
            .duration
            .and_then(|duration| Instant::now().checked_add(duration)),
    };
    let request = Request::FollowEvents {
        filter: args.wanted.filter(),
        heads: true,
    };
    // First the daemon: a refusal leaves no empty file.
    let follower = Follower::begin(&context.paths().socket, request)?;
    let to_stdout = args.write == Path::new("-");
    let out: Box<dyn Write> = match to_stdout {
        true => Box::new(io::stdout().lock()),
        false => Box::new(create(&args.write)?),
    };
    let (frames, missed) = fill(follower, out, &limits)?;
    let missed = match missed {
        0 => String::new(),
        count => format!("; {count} more were too many to be written"),
    };
    eprintln!("{frames} frames captured{missed}");
    Ok(())
}

/// Frames written, and those that came too fast.
fn fill(
    mut follower: Follower,
    out: Box<dyn Write>,
    limits: &Limits,
) -> Result<(u64, u64), Failure> {
    let failed = |error| Failure::failed(format!("failed to write the capture: {error}"));
    let mut capture = Capture::begin(out).map_err(failed)?;
    let mut missed = 0;
    while capture.frames() < limits.frames {
        let wait = match limits.end {
            Some(end) => end.saturating_duration_since(Instant::now()),
            None => Duration::MAX,
        };
        if wait.is_zero() {
            break;
        }
        match follower.next(wait)? {
            None => {}
            Some(Line::Missed(count)) => missed += count,
            Some(Line::Event(event)) => {
                if capture.bytes_with(&event) > limits.bytes {
                    break;
                }
                match capture.add(&event) {
                    // A reader that has seen enough ends this.
                    Err(error) if error.kind() == io::ErrorKind::BrokenPipe => break,
                    outcome => outcome.map_err(failed)?,
                }
            }
        }
    }
    Ok((capture.frames(), missed))
}

/// A new file that only its owner reads: it holds what others have sent.
fn create(path: &Path) -> Result<std::fs::File, Failure> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    options.open(path).map_err(|error| {
        let failure = Failure::failed(format!("failed to create {}: {error}", path.display()));
        match error.kind() {
            io::ErrorKind::AlreadyExists => failure.hint("move it away, or choose another name"),
            _ => failure,
        }
    })
}

/// `500k`, `10M`, `1G` (powers of 1024) or a number of bytes.
fn bytes(text: &str) -> Result<u64, String> {
    let (number, shift) = match text.strip_suffix(['k', 'K']) {
        Some(number) => (number, 10),
        None => match (text.strip_suffix('M'), text.strip_suffix('G')) {
            (Some(number), _) => (number, 20),
            (_, Some(number)) => (number, 30),
            _ => (text, 0),
        },
    };
    let number: Option<u64> = number.parse().ok();
    number
        .filter(|number| *number > 0)
        .and_then(|number| number.checked_mul(1 << shift))
        .ok_or_else(|| "expected a size like 500k, 10M or 1G".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_odd_ones_refused() {
        let cases = [
            ("1", Some(1)),
            ("500k", Some(500 << 10)),
            ("10M", Some(10 << 20)),
            ("1G", Some(1 << 30)),
            ("0", None),
            ("", None),
            ("M", None),
            ("-1k", None),
            ("17179869184G", None),
            ("1T", None),
        ];
        for (text, expected) in cases {
            assert_eq!(bytes(text).ok(), expected, "{text}");
        }
    }
}
