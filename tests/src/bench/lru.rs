//! The limiter over an LRU hash: cerco's peer in part 4.

use anyhow::{Context as _, Result};
use aya::{
    Ebpf, EbpfLoader, Pod,
    maps::{Map, PerCpuArray},
    programs::{ProgramFd, Xdp},
};
use filter_userspace::{kernel::MappedArray, policy::Limit};

use super::lru_layout::{DROPPED, LruCounts, LruLimit, WATCHED};

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/lru.bpf.o"));
const PROGRAM: &str = "lru_limit";

/// The loaded program and its map, in which nobody has sent anything yet.
pub struct Lru {
    ebpf: Ebpf,
}

/// Packets so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fates {
    pub passed: u64,
    pub dropped: u64,
}

// SAFETY: integers alone, without padding.
unsafe impl Pod for LruLimit {}

impl Lru {
    /// `watched`: a source that is counted apart, host byte order; 0: none.
    pub fn load(limit: &Limit, watched: u32) -> Result<Self> {
        let mut ebpf = EbpfLoader::new()
            .load(OBJECT)
            .context("failed to load the LRU limiter")?;
        xdp(&mut ebpf)?.load()?;
        let per_second = limit.packets_per_second.context("a limit on packets")?;
        let interval_ns = 1_000_000_000 / u64::from(per_second);
        let map = match ebpf.map("LIMIT") {
            Some(Map::Array(data)) => MappedArray::new(data, "LIMIT")?,
            _ => anyhow::bail!("no array LIMIT"),
        };
        map.write(
            0,
            &[LruLimit {
                interval_ns,
                tolerance_ns: u64::from(limit.burst_packets - 1) * interval_ns,
                watched,
                _pad: 0,
            }],
        );
        Ok(Self { ebpf })
    }

    pub fn fd(&mut self) -> Result<&ProgramFd> {
        Ok(xdp(&mut self.ebpf)?.fd()?)
    }

    /// Of all sources but the watched one, and of the watched one.
    pub fn fates(&self) -> Result<[Fates; 2]> {
        let map = self.ebpf.map("COUNTS").context("no map COUNTS")?;
        let counts: PerCpuArray<_, LruCounts> = PerCpuArray::try_from(map)?;
        let mut sums = LruCounts::default();
        for cpu in counts.get(&0, 0)?.iter() {
            for (sum, count) in sums.iter_mut().zip(cpu) {
                *sum += count;
            }
        }
        Ok([0, WATCHED].map(|who| Fates {
            passed: sums[who],
            dropped: sums[who + DROPPED],
        }))
    }
}

fn xdp(ebpf: &mut Ebpf) -> Result<&mut Xdp> {
    let program = ebpf.program_mut(PROGRAM);
    Ok(program
        .with_context(|| format!("no program {PROGRAM}"))?
        .try_into()?)
}
