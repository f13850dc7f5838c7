//! Pictures: horizontal bars, one for each peer and trace, as SVG.

mod bars;

use std::{fs, path::Path};

use anyhow::{Context as _, Result};

use self::bars::{Bars, Group, Scale};
use super::{
    names::{family, peer, what},
    report::Report,
    row::Row,
    trace::Draw,
};

/// Where pictures lie below the folder that was asked for.
pub const FOLDER: &str = "performance";

/// Draws a picture of each kind whose rows are there.
pub fn write(report: &Report, folder: &Path) -> Result<()> {
    let folder = folder.join(FOLDER);
    fs::create_dir_all(&folder)
        .with_context(|| format!("failed to create {}", folder.display()))?;
    for (name, bars) in all(&report.rows) {
        if !bars.groups.is_empty() {
            let path = folder.join(format!("{name}.svg"));
            fs::write(&path, bars.svg()?)
                .with_context(|| format!("failed to write {}", path.display()))?;
        }
    }
    Ok(())
}

fn all(rows: &[Row]) -> Vec<(String, Bars)> {
    let mut pictures = Vec::new();
    for family in [family::V4, family::V6] {
        let suffix = family.to_lowercase();
        pictures.push((format!("path-{suffix}"), path(rows, family)));
        pictures.push((format!("lookup-{suffix}"), lookup(rows, family)));
    }
    pictures
}

fn path(rows: &[Row], family: &str) -> Bars {
    let traces = [Draw::Few, Draw::Many];
    let row = |name: &str, what: &str, peer: &str| group(rows, name, what, peer, family, &traces);
    let groups = [
        row(peer::PLAIN_DROP, what::PATH_NO_SET, peer::PLAIN_DROP),
        row(peer::CERCO, what::PATH, peer::CERCO),
        row(peer::XDP_FILTER, what::PATH, peer::XDP_FILTER),
        row(peer::LPM_TRIE, what::PATH, peer::LPM_TRIE),
        row("nftables, no set", what::PATH_NO_SET, peer::NFTABLES),
        row(
            peer::NFTABLES_ALLOWLIST,
            what::PATH,
            peer::NFTABLES_ALLOWLIST,
        ),
        row(peer::NFTABLES, what::PATH, peer::NFTABLES),
        row("iptables, no set", what::PATH_NO_SET, peer::IPTABLES),
        row(
            peer::IPTABLES_ALLOWLIST,
            what::PATH,
            peer::IPTABLES_ALLOWLIST,
        ),
        row(peer::IPTABLES, what::PATH, peer::IPTABLES),
    ];
    Bars {
        title: format!("One dropped {family} packet over a virtual link, all included"),
        unit: "ns/packet (median), less is better",
        series: traces.iter().map(|draw| short(*draw)).collect(),
        groups: groups.into_iter().flatten().collect(),
        scale: Scale::Linear,
    }
}

fn lookup(rows: &[Row], family: &str) -> Bars {
    let row = |peer| group(rows, peer, what::LOOKUP, peer, family, &Draw::ALL);
    let groups = [row(peer::CERCO), row(peer::DIR_24_8), row(peer::LPM_TRIE)];
    Bars {
        title: format!("One {family} look-up, net of the harness"),
        unit: "ns (median), less is better, logarithmic",
        series: Draw::ALL.iter().map(|draw| short(*draw)).collect(),
        groups: groups.into_iter().flatten().collect(),
        scale: Scale::Logarithmic,
    }
}

/// `None` when nothing of it was measured.
fn group(
    rows: &[Row],
    name: &str,
    what: &str,
    peer: &str,
    family: &str,
    traces: &[Draw],
) -> Option<Group> {
    let value = |draw: &Draw| {
        let row = rows.iter().find(|row| {
            row.what == what
                && row.peer == peer
                && row.family == family
                && row.trace == draw.label()
        });
        row.map(|row| row.median)
    };
    let values: Vec<Option<f64>> = traces.iter().map(value).collect();
    values.iter().any(Option::is_some).then(|| Group {
        name: name.to_owned(),
        values,
        is_ours: peer == peer::CERCO,
    })
}

/// Without what stands in brackets.
fn short(draw: Draw) -> &'static str {
    let label = draw.label();
    label.split(" (").next().unwrap_or(label)
}
