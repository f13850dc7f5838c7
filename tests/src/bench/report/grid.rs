//! Rows laid out as tables: peers down, traces across.

use crate::bench::row::Row;

/// The rows of one thing and one family.
#[derive(Clone, Debug, PartialEq)]
pub struct Grid<'a> {
    /// For instance `packet path, IPv4 (ns/packet)`.
    pub title: String,
    pub traces: Vec<&'a str>,
    /// A name, and what was measured for each of `traces`.
    pub peers: Vec<(&'a str, Vec<Option<&'a Row>>)>,
}

/// In the order in which things, peers and traces first come in `rows`.
pub fn grids(rows: &[Row]) -> Vec<Grid<'_>> {
    let mut grids: Vec<Grid<'_>> = Vec::new();
    for row in rows {
        let title = title(row);
        let index = place(
            &mut grids,
            |grid| grid.title == title,
            || Grid {
                title: title.clone(),
                traces: Vec::new(),
                peers: Vec::new(),
            },
        );
        let grid = &mut grids[index];
        let trace = row.trace.as_str();
        let column = place(&mut grid.traces, |it| *it == trace, || trace);
        let peer = row.peer.as_str();
        let line = place(&mut grid.peers, |it| it.0 == peer, || (peer, Vec::new()));
        let cells = &mut grid.peers[line].1;
        cells.resize(cells.len().max(column + 1), None);
        cells[column] = Some(row);
    }
    for grid in &mut grids {
        for (_, cells) in &mut grid.peers {
            cells.resize(grid.traces.len(), None);
        }
    }
    grids
}

fn title(row: &Row) -> String {
    let family = match row.family.as_str() {
        "IPv4" | "IPv6" => format!(", {}", row.family),
        _ => String::new(),
    };
    format!("{}{family} ({})", row.what, row.unit)
}

/// Where the first that fits is, or a new one at the end.
fn place<T>(all: &mut Vec<T>, fits: impl Fn(&T) -> bool, new: impl FnOnce() -> T) -> usize {
    all.iter().position(fits).unwrap_or_else(|| {
        all.push(new());
        all.len() - 1
    })
}

/// Three digits or all before the point: what is beyond is noise.
pub fn number(value: f64) -> String {
    let digits = match value.abs() {
        0.0 => 0,
        size if size < 1.0 => 3,
        size if size < 10.0 => 2,
        size if size < 100.0 => 1,
        _ => 0,
    };
    format!("{value:.digits$}")
}
