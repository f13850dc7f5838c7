//! Peers that are XDP programs: those of this benchmark, and cerco.

use std::{path::Path, rc::Rc};

use anyhow::{Context as _, Result};
use aya::programs::XdpMode;
use filter_common::verdict::{Reason, Verdict};
use filter_userspace::{
    compile::CompiledPolicy,
    kernel::{AttachPreference, Gate, GateOptions, Mode, Replies},
};

use super::{
    peer::{Evidence, Peer},
    site::Site,
};
use crate::bench::{
    cable::LINK,
    drops::{Drops, Program},
    names::{peer, what},
    trace::Prefixes,
};

pub fn drop_all(mode: XdpMode) -> Result<Peer> {
    let (name, evidence) = match mode {
        // Programs in the stack have no counter of their own.
        XdpMode::Skb => (peer::GENERIC_DROP, Evidence::NeverAtIp),
        _ => (peer::PLAIN_DROP, Evidence::XdpDrops),
    };
    let no_prefixes = Prefixes::default();
    program(name, Program::DropAll, &no_prefixes, mode, evidence)
}

pub fn parse_only() -> Result<Peer> {
    let (program_of, no_prefixes) = (Program::ParseOnly, Prefixes::default());
    let evidence = Evidence::XdpDrops;
    program(
        peer::PARSE_ONLY,
        program_of,
        &no_prefixes,
        XdpMode::Driver,
        evidence,
    )
}

pub fn lpm_trie(blocked: &Prefixes) -> Result<Peer> {
    let evidence = Evidence::XdpDrops;
    let trie = Program::LpmTrie;
    Ok(Peer {
        what: what::PATH,
        knows_countries: true,
        ..program(peer::LPM_TRIE, trie, blocked, XdpMode::Driver, evidence)?
    })
}

fn program(
    name: &'static str,
    program: Program,
    blocked: &Prefixes,
    mode: XdpMode,
    evidence: Evidence,
) -> Result<Peer> {
    let site = Site::build()?;
    let mut drops = Drops::load(program, blocked)?;
    site.run(|| drops.attach(mode))??;
    let mut peer = Peer::new(name, site, evidence);
    peer.guard = Some(Box::new(drops));
    Ok(peer)
}

/// The gate, as the daemon puts it up, enforcing.
pub fn cerco(compiled: &CompiledPolicy) -> Result<Peer> {
    let site = Site::build()?;
    let options = GateOptions {
        interfaces: vec![LINK.to_owned()],
        spare_slots: 0,
        pins: Path::new("/sys/fs/bpf/cerco").to_owned(),
        mode: Mode::Enforce,
        replies: Replies::default(),
    };
    let gate = site.run(|| -> Result<Gate> {
        let mut gate = Gate::load(compiled, &options)?;
        gate.attach(AttachPreference::Native)?;
        Ok(gate)
    })??;
    let gate = Rc::new(gate);
    let counted = gate.clone();
    let evidence = Evidence::Own(Box::new(move |_| dropped_by(&counted)));
    Ok(Peer {
        what: what::PATH,
        knows_countries: true,
        ..Peer::new(peer::CERCO, site, evidence)
    })
}

/// All reasons that drop.
fn dropped_by(gate: &Gate) -> Result<u64> {
    let counters = gate.counters()?;
    let link = counters.first().context("the gate counts no interface")?;
    Ok(Reason::ALL
        .iter()
        .filter(|reason| reason.verdict() == Verdict::Drop)
        .map(|reason| link.enforced[*reason as usize].packets)
        .sum())
}
