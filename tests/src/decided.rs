//! How packets of a source are decided on, told by the counters.

use std::time::Duration;

use crate::{
    counts::{Counts, assert_counted},
    daemon::Cerco,
    poll,
    site::Site,
};

const LIMIT: Duration = Duration::from_secs(10);

/// Three SYNs from `source` to a TCP port are counted as `expected`.
///
/// # Panics
/// When they are not.
#[track_caller]
pub fn assert_decided(site: &Site, cerco: &Cerco, source: &str, port: u16, expected: &str) {
    let before = Counts::read(cerco.pins());
    site.send_to(port, source, 3).unwrap();
    let delta = || Counts::read(cerco.pins()).since(&before).without_chatter();
    assert_counted(&format!("{source} to {port}"), delta, &[(expected, 3)]);
}

/// Waits until a SYN of the source is counted as `expected`.
///
/// # Panics
/// When none is in ten seconds.
#[track_caller]
pub fn wait_until_decided(site: &Site, cerco: &Cerco, source: &str, port: u16, expected: &str) {
    poll::until("see another decision", LIMIT, || {
        let before = Counts::read(cerco.pins());
        site.send_to(port, source, 1).unwrap();
        poll::until("count a packet", LIMIT, || {
            let delta = Counts::read(cerco.pins()).since(&before).without_chatter();
            (delta.total_packets() > 0).then(|| delta.packets(expected) == 1)
        })
        .unwrap()
        .then_some(())
    })
    .unwrap();
}
