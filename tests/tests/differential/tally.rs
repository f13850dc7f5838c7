//! What the counters must say after frames whose decisions are known.

use filter_common::{
    country::Class,
    verdict::{Decision, Reason, Verdict},
};
use filter_userspace::kernel::{Count, InterfaceCounters, Mode};

/// Counters as if no frame had been seen.
pub fn zero(interface: &str) -> InterfaceCounters {
    InterfaceCounters {
        interface: interface.to_owned(),
        enforced: vec![Count::default(); Reason::COUNT],
        would_drop: vec![Count::default(); Reason::COUNT],
        class_passed: vec![Count::default(); Class::COUNT],
        class_dropped: vec![Count::default(); Class::COUNT],
        class_would_drop: vec![Count::default(); Class::COUNT],
    }
}

/// Counts one frame.
pub fn add(counters: &mut InterfaceCounters, decision: &Decision, mode: Mode, frame_len: usize) {
    let is_observed = decision.verdict == Verdict::Drop && mode == Mode::Observe;
    let by_reason = if is_observed {
        &mut counters.would_drop
    } else {
        &mut counters.enforced
    };
    count(&mut by_reason[decision.reason as usize], frame_len);
    if let Some(class) = decision.class {
        let by_class = match decision.verdict {
            Verdict::Pass => &mut counters.class_passed,
            Verdict::Drop if is_observed => &mut counters.class_would_drop,
            Verdict::Drop => &mut counters.class_dropped,
        };
        count(&mut by_class[usize::from(class.0)], frame_len);
    }
}

fn count(count: &mut Count, frame_len: usize) {
    count.packets += 1;
    count.bytes += frame_len as u64;
}

/// Frames and bytes over all reasons.
pub fn total(counters: &InterfaceCounters) -> Count {
    let mut total = Count::default();
    for count in counters.enforced.iter().chain(&counters.would_drop) {
        total.packets += count.packets;
        total.bytes += count.bytes;
    }
    total
}

/// The packets of a reason, whatever became of them.
pub fn packets(counters: &InterfaceCounters, reason: Reason) -> u64 {
    counters.enforced[reason as usize].packets + counters.would_drop[reason as usize].packets
}
