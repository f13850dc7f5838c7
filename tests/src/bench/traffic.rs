//! The program that makes frames, and the trace that it takes sources from.

use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::{Context as _, Result, ensure};
use aya::{
    Ebpf, EbpfLoader,
    maps::{Map, ProgramArray},
    programs::{ProgramFd, TestRun as _, TestRunAttrs, TestRunOptions, Xdp},
};
use filter_userspace::kernel::MappedArray;

use super::shared::{CLOCK_EVERY, Clock, Feed, TRACE_LEN, TraceV4, TraceV6};
use crate::veth::Mac;

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/traffic.bpf.o"));

/// Frames that a run hands to the link at a time, as a NAPI poll of a driver does.
const BATCH: u32 = 64;

/// Minimum-size Ethernet frame without its FCS.
const FRAME_LEN: usize = 60;
const ETHERNET_LEN: usize = 14;

/// Which program makes the source addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sources {
    TraceV4,
    TraceV6,
    /// All of IPv4 in a scrambled order.
    DrawnV4,
}

impl Sources {
    const ALL: [Self; 3] = [Self::TraceV4, Self::TraceV6, Self::DrawnV4];

    const fn sender(self) -> &'static str {
        match self {
            Self::TraceV4 => "send_v4",
            Self::TraceV6 => "send_v6",
            Self::DrawnV4 => "send_drawn_v4",
        }
    }

    const fn caller(self) -> &'static str {
        match self {
            Self::TraceV4 => "then_v4",
            Self::TraceV6 => "then_v6",
            Self::DrawnV4 => "then_drawn_v4",
        }
    }
}

/// Calls a program that does not take frames in several buffers, with sources of a trace.
const WHOLE_CALLERS: [&str; 2] = ["then_whole_v4", "then_whole_v6"];

/// The loaded programs.
pub struct Traffic {
    ebpf: Ebpf,
    feed: MappedArray<Feed>,
    clock: MappedArray<Clock>,
    trace_v4: MappedArray<TraceV4>,
    trace_v6: MappedArray<TraceV6>,
    next: ProgramArray<aya::maps::MapData>,
    next_whole: ProgramArray<aya::maps::MapData>,
}

// SAFETY: integers alone, without padding.
unsafe impl aya::Pod for Feed {}
// SAFETY: as above.
unsafe impl aya::Pod for Clock {}

impl Traffic {
    pub fn load() -> Result<Self> {
        let mut ebpf = EbpfLoader::new()
            .load(OBJECT)
            .context("failed to load the traffic programs")?;
        for sources in Sources::ALL {
            load(&mut ebpf, sources.sender())?;
            load(&mut ebpf, sources.caller())?;
        }
        for name in WHOLE_CALLERS {
            load(&mut ebpf, name)?;
        }
        let feed = MappedArray::new(array(&ebpf, "FEED")?, "FEED")?;
        let clock = MappedArray::new(array(&ebpf, "CLOCK")?, "CLOCK")?;
        let trace_v4 = MappedArray::new(array(&ebpf, "TRACE_V4")?, "TRACE_V4")?;
        let trace_v6 = MappedArray::new(array(&ebpf, "TRACE_V6")?, "TRACE_V6")?;
        let next = ProgramArray::try_from(ebpf.take_map("NEXT").context("no map NEXT")?)?;
        let next_whole = ebpf.take_map("NEXT_WHOLE").context("no map NEXT_WHOLE")?;
        let next_whole = ProgramArray::try_from(next_whole)?;
        Ok(Self {
            ebpf,
            feed,
            clock,
            trace_v4,
            trace_v6,
            next,
            next_whole,
        })
    }

    /// Sets the trace; the length is a power of two and at most [`TRACE_LEN`].
    pub fn set_v4(&mut self, frame: &[u8], sources: &[u32]) -> Result<()> {
        let entries: Vec<TraceV4> = sources
            .iter()
            .map(|source| v4_entry(frame, *source))
            .collect();
        self.trace_v4.write(0, &entries);
        self.rewind(sources.len() as u64)
    }

    /// As [`Traffic::set_v4`].
    pub fn set_v6(&mut self, sources: &[u128]) -> Result<()> {
        let entries: Vec<TraceV6> = sources
            .iter()
            .map(|source| {
                let words = source.to_be_bytes();
                let (high, low) = words.split_at(8);
                let word = |bytes: &[u8]| u64::from_ne_bytes(bytes.try_into().unwrap_or_default());
                [word(high), word(low)]
            })
            .collect();
        self.trace_v6.write(0, &entries);
        self.rewind(sources.len() as u64)
    }

    /// Draws from `count` addresses, a power of two up to 2^32.
    pub fn set_drawn(&mut self, count: u64) -> Result<()> {
        self.rewind(count)
    }

    fn rewind(&mut self, len: u64) -> Result<()> {
        ensure!(len.is_power_of_two(), "a trace of {len} entries");
        ensure!(
            len <= u64::from(TRACE_LEN) || len <= 1 << 32,
            "a trace of {len} entries"
        );
        let ifindex = self.feed.read(0).ifindex;
        self.write_feed(0, len - 1, ifindex);
        Ok(())
    }

    fn write_feed(&mut self, next: u64, mask: u64, ifindex: u32) {
        self.feed.write(
            0,
            &[Feed {
                next,
                mask,
                ifindex,
                _pad: 0,
            }],
        );
    }

    /// Where [`Traffic::send`] sends. The trace goes on where it was.
    pub fn set_link(&mut self, ifindex: u32) {
        let Feed { next, mask, .. } = self.feed.read(0);
        self.write_feed(next, mask, ifindex);
    }

    /// Which program [`Traffic::run`] measures.
    pub fn set_program(&mut self, program: &ProgramFd) -> Result<()> {
        self.next
            .set(0, program, 0)
            .context("failed to set the program under test")
    }

    /// Sends `count` frames into the link, from the network namespace of the calling thread, and
    /// returns nanoseconds of one. All that the frames cause on their way, up to where they are dropped,
    /// happens on this CPU and is part of it.
    pub fn send(&mut self, sources: Sources, frame: &[u8], count: u32) -> Result<f64> {
        let options = TestRunOptions {
            data_in: Some(frame),
            repeat: count,
            attrs: TestRunAttrs::new().xdp_live_frames(BATCH),
            ..TestRunOptions::new()
        };
        let (nanoseconds, _) = self.test_run(sources.sender(), options)?;
        Ok(nanoseconds)
    }

    /// Which program [`Traffic::run_whole`] measures: one that was loaded without `frags`.
    pub fn set_whole_program(&mut self, program: &ProgramFd) -> Result<()> {
        self.next_whole
            .set(0, program, 0)
            .context("failed to set the program under test")
    }

    /// Runs the program under test `count` times and returns the mean of one run in nanoseconds,
    /// with the making of its frame; also the action that the last run returned.
    pub fn run(&mut self, sources: Sources, frame: &[u8], count: u32) -> Result<(f64, u32)> {
        self.run_caller(sources.caller(), frame, count)
    }

    /// As [`Traffic::run`], with sources of a trace.
    pub fn run_whole(&mut self, sources: Sources, frame: &[u8], count: u32) -> Result<(f64, u32)> {
        let [v4, v6] = WHOLE_CALLERS;
        let caller = match sources {
            Sources::TraceV4 => v4,
            Sources::TraceV6 => v6,
            Sources::DrawnV4 => anyhow::bail!("only traces reach a program without frags"),
        };
        self.run_caller(caller, frame, count)
    }

    fn run_caller(&mut self, caller: &str, frame: &[u8], count: u32) -> Result<(f64, u32)> {
        let options = TestRunOptions {
            data_in: Some(frame),
            repeat: count,
            ..TestRunOptions::new()
        };
        self.test_run(caller, options)
    }

    /// Nanoseconds of a frame, and the action of the last one.
    ///
    /// The kernel takes the time around the loop: so without the tens of milliseconds in which it
    /// prepares a run and waits for grace periods of RCU, and without other processes, but in whole
    /// nanoseconds, rounded down. The clock that the programs read tells the rest.
    fn test_run(&mut self, name: &str, options: TestRunOptions<'_>) -> Result<(f64, u32)> {
        self.clock.write(0, &[Clock::default()]);
        let result = program(&mut self.ebpf, name)?
            .test_run(options)
            .with_context(|| format!("failed to run {name}"))?;
        let whole = result.duration.as_nanos() as f64;
        let clock = self.clock.read(0);
        let nanoseconds = match clock.count {
            0 | 1 => whole,
            readings => {
                let frames = ((readings - 1) * CLOCK_EVERY) as f64;
                let mean = (clock.last_ns - clock.first_ns) as f64 / frames;
                mean.clamp(whole, whole + 1.0)
            }
        };
        Ok((nanoseconds, result.return_value))
    }
}

/// A UDP datagram of the least length; the source is filled in by the program.
pub fn frame_v4(from: Mac, to: Mac, destination: Ipv4Addr, port: u16) -> Vec<u8> {
    let mut frame = ethernet(from, to, 0x0800);
    let total_len = (FRAME_LEN - ETHERNET_LEN) as u16;
    frame.extend([0x45, 0]);
    frame.extend(total_len.to_be_bytes());
    frame.extend([0, 0, 0, 0, 64, 17, 0, 0, 0, 0, 0, 0]);
    frame.extend(destination.octets());
    udp(&mut frame, port);
    frame
}

/// As [`frame_v4`].
pub fn frame_v6(from: Mac, to: Mac, destination: Ipv6Addr, port: u16) -> Vec<u8> {
    let mut frame = ethernet(from, to, 0x86dd);
    frame.extend([0x60, 0, 0, 0, 0, 8, 17, 64]);
    frame.extend([0; 16]);
    frame.extend(destination.octets());
    udp(&mut frame, port);
    frame
}

fn ethernet(from: Mac, to: Mac, ethertype: u16) -> Vec<u8> {
    [&to.0[..], &from.0, &ethertype.to_be_bytes()].concat()
}

/// Header and padding up to the least length of a frame. Over IPv4 a checksum of 0 means none.
fn udp(frame: &mut Vec<u8>, port: u16) {
    let header = frame.len();
    frame.extend(40_000u16.to_be_bytes());
    frame.extend(port.to_be_bytes());
    frame.resize(FRAME_LEN.max(header + 8), 0);
    let len = (frame.len() - header) as u16;
    frame[header + 4..header + 6].copy_from_slice(&len.to_be_bytes());
}

/// The eight bytes of a frame's header from the time to live to the source, checksum filled in.
fn v4_entry(frame: &[u8], source: u32) -> u64 {
    let mut header = frame[ETHERNET_LEN..ETHERNET_LEN + 20].to_vec();
    header[10..12].fill(0);
    header[12..16].copy_from_slice(&source.to_be_bytes());
    // RFC 791 §3.1, RFC 1071: the complement of the one's complement sum of the 16-bit words.
    let sum: u32 = header
        .chunks_exact(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let checksum = !((folded & 0xffff) + (folded >> 16)) as u16;
    header[10..12].copy_from_slice(&checksum.to_be_bytes());
    u64::from_ne_bytes(header[8..16].try_into().unwrap_or_default())
}

fn program<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp> {
    let program = ebpf.program_mut(name);
    Ok(program
        .with_context(|| format!("no program {name}"))?
        .try_into()?)
}

fn load(ebpf: &mut Ebpf, name: &str) -> Result<()> {
    program(ebpf, name)?
        .load()
        .with_context(|| format!("the kernel refused {name}"))
}

fn array<'a>(ebpf: &'a Ebpf, name: &str) -> Result<&'a aya::maps::MapData> {
    match ebpf.map(name) {
        Some(Map::Array(data)) => Ok(data),
        _ => anyhow::bail!("no array {name}"),
    }
}
