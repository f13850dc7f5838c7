//! The look-up programs, with their tables filled.

use std::{path::Path, process};

use anyhow::{Context as _, Result, ensure};
use aya::{
    Ebpf, EbpfLoader, Pod,
    maps::{
        Array, Map, MapData,
        lpm_trie::{Key, LpmTrie},
    },
    programs::{TestRun as _, TestRunOptions, Xdp},
};
use filter_common::{country::Class, table::Line};
use filter_userspace::{
    compile::Cover,
    geo::covering_prefixes,
    kernel::{MappedArray, TableMap},
};
use ipnetwork::IpNetwork;

use super::{
    dir_24_8::Dir24,
    lookup_layout::{
        ADDRESSES, BLOCK_ENTRIES, BLOCKS_V4, BLOCKS_V6, FIRST_ENTRIES, IS_BLOCK_V4, IS_BLOCK_V6,
        Walk,
    },
    names::peer,
};

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/lookups.bpf.o"));

/// Look-ups of one timed walk.
pub const LOOKUPS: u32 = 1 << 20;
/// Look-ups of one run of the program; between runs the kernel may do something else.
const LOOKUPS_PER_RUN: u32 = 1 << 14;

/// The checksum of nothing (RFC 9923).
pub const CHECKSUM_BASIS: u64 = 0xcbf2_9ce4_8422_2325;

/// `xdp_action` of a run that made all its look-ups.
const PASS: u32 = 2;

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Structure {
    /// The loop alone.
    NoLookup,
    Cerco,
    LpmTrie,
    Dir24,
}

impl Structure {
    pub const ALL: [Self; 4] = [Self::NoLookup, Self::Cerco, Self::LpmTrie, Self::Dir24];

    pub const fn label(self) -> &'static str {
        match self {
            Self::NoLookup => "loop alone",
            Self::Cerco => peer::CERCO,
            Self::LpmTrie => peer::LPM_TRIE,
            Self::Dir24 => peer::DIR_24_8,
        }
    }
}

/// One of the programs.
#[derive(Clone, Copy, Debug)]
pub struct Walking {
    pub structure: Structure,
    pub is_v4: bool,
    /// Whether each look-up waits for the one before.
    pub chained: bool,
}

impl Walking {
    fn program(self) -> String {
        let structure = match self.structure {
            Structure::NoLookup => "no_lookup",
            Structure::Cerco => "cerco",
            Structure::LpmTrie => "trie",
            Structure::Dir24 => "dir",
        };
        let family = if self.is_v4 { "v4" } else { "v6" };
        let end = if self.chained { "_c" } else { "" };
        format!("{structure}_{family}{end}")
    }
}

/// One world, as cerco compiled it and as ranges.
pub struct World<'a> {
    pub lines: &'a [Line],
    pub v4: &'a Cover,
    pub v6: &'a Cover,
}

/// What a walk took and found.
pub struct Walked {
    /// For each look-up, with the loop around it.
    pub nanoseconds: f64,
    pub checksum: u64,
}

/// The loaded programs.
pub struct Lookups {
    ebpf: Ebpf,
    walk: MappedArray<Walk>,
    trace_len: u64,
}

// SAFETY: integers alone, without padding.
unsafe impl Pod for Walk {}

impl Lookups {
    /// Loads programs and tables. The LPM tries take a second or two.
    pub fn load(world: &World<'_>) -> Result<Self> {
        let (v4, v6) = (prefixes(world.v4, true), prefixes(world.v6, false));
        let directory = format!("/sys/fs/bpf/cerco-bench-lookups-{}", process::id());
        let table = TableMap::create(Path::new(&directory), world.lines.len())?;
        let mut loader = EbpfLoader::new();
        table.give_to(&mut loader);
        let mut ebpf = loader
            .map_max_entries("TRIE_V4", v4.len().max(1) as u32)
            .map_max_entries("TRIE_V6", v6.len().max(1) as u32)
            .load(OBJECT)
            .context("failed to load the look-up programs")?;
        let table: MappedArray<Line> = MappedArray::of_one_value(array(&ebpf, "TABLE")?, "TABLE")?;
        table.write(0, world.lines);
        fill_tries(&mut ebpf, &v4, &v6)?;
        fill_dir_v4(&mut ebpf, &Dir24::build(world.v4))?;
        fill_dir_v6(&mut ebpf, &Dir24::build(world.v6))?;
        for structure in Structure::ALL {
            for (is_v4, chained) in [(true, false), (true, true), (false, false), (false, true)] {
                let walking = Walking {
                    structure,
                    is_v4,
                    chained,
                };
                let name = walking.program();
                program(&mut ebpf, &name)?
                    .load()
                    .with_context(|| format!("the kernel refused {name}"))?;
            }
        }
        Ok(Self {
            walk: MappedArray::new(array(&ebpf, "WALK")?, "WALK")?,
            ebpf,
            trace_len: 1,
        })
    }

    /// Sets the trace; the length is a power of two and at most [`ADDRESSES`].
    pub fn set_v4(&mut self, addresses: &[u32]) -> Result<()> {
        let octets = addresses.iter().map(|address| address.to_be_bytes());
        self.trace_len = addresses.len() as u64;
        set_whole::<[u8; 4], ADDRESSES>(&mut self.ebpf, "TRACE_V4", octets.collect(), [0; 4])
    }

    /// As [`Lookups::set_v4`].
    pub fn set_v6(&mut self, addresses: &[u128]) -> Result<()> {
        let octets = addresses.iter().map(|address| address.to_be_bytes());
        self.trace_len = addresses.len() as u64;
        set_whole::<[u8; 16], ADDRESSES>(&mut self.ebpf, "TRACE_V6", octets.collect(), [0; 16])
    }

    /// Looks the first `lookups` addresses of the trace up, which begins again at its end.
    pub fn walk(&mut self, walking: Walking, lookups: u32) -> Result<Walked> {
        let mut walk = Walk {
            mask: self.trace_len - 1,
            checksum: CHECKSUM_BASIS,
            ..Walk::default()
        };
        let name = walking.program();
        // The kernel's own clock, around the runs alone: the call also waits for several grace periods of
        // RCU before and after them, 4 ms each (bpf_prog_change_xdp, net/bpf/test_run.c).
        let mut nanoseconds = 0.0;
        for (count, repeat) in [
            (LOOKUPS_PER_RUN, lookups / LOOKUPS_PER_RUN),
            (lookups % LOOKUPS_PER_RUN, 1),
        ] {
            if count == 0 || repeat == 0 {
                continue;
            }
            walk.count = count.into();
            self.walk.write(0, &[walk]);
            let result = program(&mut self.ebpf, &name)?
                .test_run(TestRunOptions {
                    // The kernel asks for an Ethernet header at the least; nobody reads it.
                    data_in: Some(&[0; 64]),
                    repeat,
                    ..TestRunOptions::new()
                })
                .with_context(|| format!("failed to run {name}"))?;
            ensure!(result.return_value == PASS, "{name} did not look all up");
            nanoseconds += result.duration.as_nanos() as f64 * f64::from(repeat);
            walk = self.walk.read(0);
        }
        nanoseconds /= f64::from(lookups);
        ensure!(
            walk.next == u64::from(lookups),
            "{name} did not look all up"
        );
        Ok(Walked {
            nanoseconds,
            checksum: walk.checksum,
        })
    }
}

/// The fewest prefixes that say what the cover says, without those of unknown space.
fn prefixes(cover: &Cover, is_v4: bool) -> Vec<(IpNetwork, Class)> {
    let mut prefixes = Vec::new();
    for (index, (first, class)) in cover.starts.iter().zip(&cover.classes).enumerate() {
        if *class == Class::UNKNOWN {
            continue;
        }
        let next = cover.starts.get(index + 1);
        let last = next.map_or(u128::MAX, |next| next - 1);
        let range = if is_v4 {
            covering_prefixes((first >> 96) as u32, (last >> 96) as u32)
        } else {
            covering_prefixes(*first, last)
        };
        prefixes.extend(range.into_iter().map(|prefix| (prefix, *class)));
    }
    prefixes
}

fn fill_tries(ebpf: &mut Ebpf, v4: &[(IpNetwork, Class)], v6: &[(IpNetwork, Class)]) -> Result<()> {
    let mut trie: LpmTrie<&mut MapData, [u8; 4], u32> =
        LpmTrie::try_from(ebpf.map_mut("TRIE_V4").context("no map TRIE_V4")?)?;
    for (prefix, class) in v4 {
        if let IpNetwork::V4(prefix) = prefix {
            let key = Key::new(prefix.prefix().into(), prefix.network().octets());
            trie.insert(&key, u32::from(class.0), 0)?;
        }
    }
    let mut trie: LpmTrie<&mut MapData, [u8; 16], u32> =
        LpmTrie::try_from(ebpf.map_mut("TRIE_V6").context("no map TRIE_V6")?)?;
    for (prefix, class) in v6 {
        if let IpNetwork::V6(prefix) = prefix {
            let key = Key::new(prefix.prefix().into(), prefix.network().octets());
            trie.insert(&key, u32::from(class.0), 0)?;
        }
    }
    Ok(())
}

fn fill_dir_v4(ebpf: &mut Ebpf, table: &Dir24) -> Result<()> {
    let narrow = |entry: &u32| match entry & IS_BLOCK_V6 {
        0 => *entry as u16,
        _ => *entry as u16 | IS_BLOCK_V4,
    };
    let first = table.first.iter().map(narrow).collect();
    let blocks = table.blocks.iter().flatten().map(narrow).collect();
    set_whole::<u16, FIRST_ENTRIES>(ebpf, "FIRST_V4", first, 0)?;
    set_whole::<u16, { BLOCKS_V4 * BLOCK_ENTRIES }>(ebpf, "BLOCK_V4", blocks, 0)
}

fn fill_dir_v6(ebpf: &mut Ebpf, table: &Dir24) -> Result<()> {
    let blocks = table.blocks.iter().flatten().copied().collect();
    set_whole::<u32, FIRST_ENTRIES>(ebpf, "FIRST_V6", table.first.clone(), 0)?;
    set_whole::<u32, { BLOCKS_V6 * BLOCK_ENTRIES }>(ebpf, "BLOCK_V6", blocks, 0)
}

/// Writes the one value of an array, filled up with `rest`, in one system call.
fn set_whole<T: Pod, const N: usize>(
    ebpf: &mut Ebpf,
    name: &'static str,
    mut values: Vec<T>,
    rest: T,
) -> Result<()> {
    let needed = values.len();
    ensure!(needed <= N, "{needed} values do not fit {name} with {N}");
    values.resize(N, rest);
    let values: Box<[T; N]> = match values.into_boxed_slice().try_into() {
        Ok(values) => values,
        Err(_) => anyhow::bail!("invariant: the vector was given this length"),
    };
    let map = ebpf
        .map_mut(name)
        .with_context(|| format!("no map {name}"))?;
    let mut array: Array<&mut MapData, [T; N]> = Array::try_from(map)?;
    // By reference: it is too large for the stack.
    let values: &[T; N] = &values;
    array
        .set(0, values, 0)
        .with_context(|| format!("failed to fill {name}"))
}

fn program<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp> {
    let program = ebpf.program_mut(name);
    Ok(program
        .with_context(|| format!("no program {name}"))?
        .try_into()?)
}

fn array<'a>(ebpf: &'a Ebpf, name: &str) -> Result<&'a MapData> {
    match ebpf.map(name) {
        Some(Map::Array(data)) => Ok(data),
        _ => anyhow::bail!("no array {name}"),
    }
}
