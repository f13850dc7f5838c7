//! The XDP programs that cerco is compared with on the packet path.

use std::path::Path;

use anyhow::{Context as _, Result};
use aya::{
    Ebpf, EbpfLoader,
    maps::{
        MapData,
        lpm_trie::{Key, LpmTrie},
    },
    programs::{ProgramFd, Xdp, XdpMode},
};
use ipnetwork::IpNetwork;

use super::{cable::LINK, trace::Prefixes};

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/drops.bpf.o"));

/// One of the programs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Program {
    /// Drops without a look: what the link and its driver cost.
    DropAll,
    /// cerco's parser, then a drop.
    ParseOnly,
    /// The parser and the kernel's LPM trie.
    LpmTrie,
}

impl Program {
    const fn name(self) -> &'static str {
        match self {
            Self::DropAll => "drop_all",
            Self::ParseOnly => "parse_only",
            Self::LpmTrie => "lpm_trie",
        }
    }
}

/// A loaded program and its maps.
pub struct Drops {
    ebpf: Ebpf,
    program: Program,
}

impl Drops {
    /// `blocked`: what the LPM trie drops; the others do not ask.
    pub fn load(program: Program, blocked: &Prefixes) -> Result<Self> {
        let mut ebpf = EbpfLoader::new()
            .map_max_entries("BLOCKED_V4", blocked.v4.len().max(1) as u32)
            .map_max_entries("BLOCKED_V6", blocked.v6.len().max(1) as u32)
            .load(OBJECT)
            .context("failed to load the programs to compare with")?;
        if program == Program::LpmTrie {
            fill(&mut ebpf, blocked)?;
        }
        let mut drops = Self { ebpf, program };
        drops
            .xdp()?
            .load()
            .with_context(|| format!("the kernel refused {}", program.name()))?;
        Ok(drops)
    }

    /// Attaches to the cable's link, in the network namespace of the calling thread.
    pub fn attach(&mut self, mode: XdpMode) -> Result<()> {
        self.attach_to(LINK, mode)
    }

    /// Attaches to one more link.
    pub fn attach_to(&mut self, link: &str, mode: XdpMode) -> Result<()> {
        self.xdp()?.attach(link, mode)?;
        Ok(())
    }

    /// Gives the program a name on a BPF file system, where `ip link` finds it.
    pub fn pin(&mut self, path: &Path) -> Result<()> {
        Ok(self.xdp()?.pin(path)?)
    }

    pub fn fd(&mut self) -> Result<&ProgramFd> {
        Ok(self.xdp()?.fd()?)
    }

    fn xdp(&mut self) -> Result<&mut Xdp> {
        let name = self.program.name();
        let program = self.ebpf.program_mut(name);
        Ok(program
            .with_context(|| format!("no program {name}"))?
            .try_into()?)
    }
}

fn fill(ebpf: &mut Ebpf, blocked: &Prefixes) -> Result<()> {
    let mut v4: LpmTrie<&mut MapData, [u8; 4], u32> =
        LpmTrie::try_from(ebpf.map_mut("BLOCKED_V4").context("no map BLOCKED_V4")?)?;
    for prefix in &blocked.v4 {
        if let IpNetwork::V4(prefix) = prefix {
            v4.insert(
                &Key::new(prefix.prefix().into(), prefix.network().octets()),
                1,
                0,
            )?;
        }
    }
    let mut v6: LpmTrie<&mut MapData, [u8; 16], u32> =
        LpmTrie::try_from(ebpf.map_mut("BLOCKED_V6").context("no map BLOCKED_V6")?)?;
    for prefix in &blocked.v6 {
        if let IpNetwork::V6(prefix) = prefix {
            v6.insert(
                &Key::new(prefix.prefix().into(), prefix.network().octets()),
                1,
                0,
            )?;
        }
    }
    Ok(())
}
