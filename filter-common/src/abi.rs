//! What lies in the maps, byte for byte the same for kernel and host.
//!
//! Scalars are in host byte order: both sides run on one machine. Any change to a layout, to the
//! meaning of a field, to the table ([`crate::table`]) or to the numbering of reasons raises [`ABI_VERSION`].

use crate::verdict::Reason;

/// Stamped into [`Control`]; a daemon never uses maps that carry another number.
pub const ABI_VERSION: u32 = ours_or(7, 1_007) as u32;

/// Chooses by the feature `other-abi`: with it, this is a build that never was, whose blocks and maps look otherwise.
/// The tests of upgrades put it in the place of ours, and the other way round.
const fn ours_or(ours: usize, other: usize) -> usize {
    if cfg!(feature = "other-abi") {
        other
    } else {
        ours
    }
}

/// Interfaces that one gate can stand on.
pub const MAX_INTERFACES: usize = ours_or(16, 8);
/// Members of bonds that one gate stands on.
pub const MAX_MEMBERS: usize = 16;
/// Named limits of one policy.
pub const MAX_LIMITS: usize = ours_or(64, 48);
/// Destination prefixes of `[protect]`, for each family.
pub const MAX_DESTINATIONS: usize = 16;
/// Distinct prefix lengths that bans may have at a time, for each family: one exact-match look-up each.
pub const MAX_BAN_LENGTHS: usize = 8;
/// Bans that the map can hold.
pub const MAX_BANS: usize = 1 << 18;

/// Entries of [`PolicyBlock::exceptions`], a power of two.
pub const MAX_EXCEPTIONS: usize = 64;

/// Ends [`Control::ban_lengths_v4`] and [`Control::ban_lengths_v6`] early.
pub const NO_BAN_LENGTH: u8 = 0xff;

/// The two tables of a pair; a generation is one of them.
pub const GENERATIONS: usize = 2;

/// The switches of the gate: one value, written field by field while packets flow.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Control {
    /// [`ABI_VERSION`].
    pub abi_version: u32,
    /// 0: nothing is published yet. 1 and 2: generation 0 or 1 decides.
    pub published: u32,
    /// 1: drops are counted as such and pass. 0: they drop.
    pub observe: u32,
    /// Lines that each generation has in the table map.
    pub lines_per_generation: u32,
    /// Bits of [`logged`], set by the kernel side: what it has said already.
    pub logged: u32,
    /// Entries of `interfaces` in use.
    pub interface_count: u32,
    /// 0: what is published is there to stay. Else it is on trial up to this time, nanoseconds of
    /// CLOCK_BOOTTIME; from then on the two fields below decide in place of `published` and `observe`.
    pub trial_until_ns: u64,
    /// What was `published` before the trial.
    pub published_before: u32,
    /// What was `observe` before the trial.
    pub observe_before: u32,
    /// Counts the windows of time for which events have a budget; whoever reads them begins a new one every
    /// [`EVENT_WINDOW_NS`]. When nobody does, no more events are made than one budget for each reason.
    pub event_window: u32,
    /// Events of each reason that each CPU may make in a window.
    pub event_budget: u32,
    /// Kernel interface index by slot; the slot numbers the value in the counter map, see
    /// [`elsewhere_slot`].
    pub interfaces: [u32; MAX_INTERFACES],
    /// Kernel interface index of each member of a bond, or 0. The kernel runs a bond's program on its members (native
    /// mode, since Linux 5.15), whose numbers the frames bear then.
    pub members: [u32; MAX_MEMBERS],
    /// The slot of the bond, for each of `members`.
    pub member_slots: [u8; MAX_MEMBERS],
    /// How each interface is attached, a number of [`attach_mode`], by slot.
    pub attach_modes: [u8; MAX_INTERFACES],
    /// Prefix lengths (bits) that IPv4 bans have now, then [`NO_BAN_LENGTH`].
    pub ban_lengths_v4: [u8; MAX_BAN_LENGTHS],
    /// Prefix lengths (bits) that IPv6 bans have now, then [`NO_BAN_LENGTH`].
    pub ban_lengths_v6: [u8; MAX_BAN_LENGTHS],
    /// Random numbers of this load; an attacker who knew them could aim at one set of the limiter.
    pub limiter_seed: [u64; 2],
    /// Random numbers of the flow table, which it keeps as long as it lives.
    pub flow_seed: [u64; 2],
    /// After how many ticks ([`crate::flow::tick`]) a flow is over, by [`crate::flow::state`]; 0 for those that are
    /// none.
    pub flow_timeouts: [u32; 16],
    /// Which of `reply_ports` is read, 0 or 1; both are written.
    pub reply_ports_in_use: u32,
    /// The tick at which the programs behind the gate stood on all interfaces, and the gate before them. A tuple whose
    /// other side was heard last by then may be one that the host began unseen, see [`crate::flow::is_heard`].
    pub trackers_since: u32,
    /// Our ports from which flows were opened, by [`reply_ports`]. The daemon renews the one that is not in
    /// use from the flow table, or each would fill up in the course of time.
    pub reply_ports: [[PortSet; 2]; REPLY_PORT_SETS],
}

/// What decides at the moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InForce {
    /// As [`Control::published`].
    pub published: u32,
    /// As [`Control::observe`].
    pub observe: u32,
}

impl Control {
    /// What decides now, whether or not a daemon is there to end a trial whose time is over.
    ///
    /// Others may write the fields meanwhile: each is read once, the end of the trial first, which is written
    /// last at its start and at its end. `now_ns`: asked for in a trial only.
    #[inline(always)] // Three loads and a comparison on the hot path.
    pub fn in_force(&self, now_ns: impl FnOnce() -> u64) -> InForce {
        // SAFETY: fields of a reference, aligned and valid.
        let read = |field: &u32| unsafe { core::ptr::read_volatile(field) };
        // SAFETY: as above.
        let until = unsafe { core::ptr::read_volatile(&self.trial_until_ns) };
        if until != 0 && now_ns() >= until {
            return InForce {
                published: read(&self.published_before),
                observe: read(&self.observe_before),
            };
        }
        InForce {
            published: read(&self.published),
            observe: read(&self.observe),
        }
    }
    /// Nothing is published, every drop drops, and no flow is known.
    pub const EMPTY: Self = Self {
        abi_version: ABI_VERSION,
        published: 0,
        observe: 0,
        lines_per_generation: 0,
        logged: 0,
        interface_count: 0,
        trial_until_ns: 0,
        published_before: 0,
        observe_before: 0,
        event_window: 0,
        event_budget: 0,
        interfaces: [0; MAX_INTERFACES],
        members: [0; MAX_MEMBERS],
        member_slots: [0; MAX_MEMBERS],
        attach_modes: [0; MAX_INTERFACES],
        ban_lengths_v4: [NO_BAN_LENGTH; MAX_BAN_LENGTHS],
        ban_lengths_v6: [NO_BAN_LENGTH; MAX_BAN_LENGTHS],
        limiter_seed: [0; 2],
        flow_seed: [0; 2],
        flow_timeouts: crate::flow::DEFAULT_TIMEOUTS,
        reply_ports_in_use: 0,
        trackers_since: 0,
        reply_ports: [const { [const { PortSet([0; 1024]) }; 2] }; REPLY_PORT_SETS],
    };
}

/// Pairs of port sets in [`Control::reply_ports`]; a power of two, so that a mask proves the bound.
pub const REPLY_PORT_SETS: usize = 2;

/// Which port set of a pair in [`Control::reply_ports`].
pub mod reply_ports {
    pub const TCP: usize = 0;
    pub const UDP: usize = 1;
}

/// Sets of the flow table, each of [`crate::flow::WAYS`] flows: 262,144 flows, as many as connection tracking has
/// by default.
pub const FLOW_SETS: u32 = 1 << ours_or(16, 15);
/// Sets of the tuples whose other side wrote first, each of [`crate::flow::HEARD_WAYS`].
pub const HEARD_SETS: u32 = 1 << 15;

/// The numbers in [`Control::attach_modes`].
pub mod attach_mode {
    pub const NATIVE: u8 = 1;
    pub const GENERIC: u8 = 2;
}

/// Bits of [`Control::logged`]: each message is sent once for each load.
pub mod logged {
    pub const STARTED: u32 = 1 << 0;
    pub const TABLE_EMPTY: u32 = 1 << 1;
    pub const MAP_MISSING: u32 = 1 << 2;
}

/// Everything of a policy that is not an address table or a port set.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct PolicyBlock {
    /// Action by class, see [`action`].
    pub actions: [u8; crate::country::Class::COUNT],
    pub limits: [Limit; MAX_LIMITS],
    pub scope: Scope,
    /// Sets of the limiter's array for packets that this policy uses, a power of two, less one.
    pub packet_set_mask: u32,
    /// The same for new connections.
    pub connection_set_mask: u32,
    /// When this policy was published: seconds since the Unix epoch.
    pub published_unix_s: u64,
    /// The letters of each country class, for whoever reads the maps without the daemon; zeroes for
    /// classes that stand for no country.
    pub country_letters: [[u8; 2]; crate::country::Class::COUNT],
    /// Entries of `exceptions` in use.
    pub exception_count: u32,
    pub _pad: u32,
    /// What goes over the classes; the first that is about a packet decides, see [`crate::exception`].
    pub exceptions: [Exception; MAX_EXCEPTIONS],
}

/// The numbers in [`PolicyBlock::actions`].
pub mod action {
    pub const DENY: u8 = 0;
    pub const ALLOW: u8 = 1;
    /// This plus the index of the limit.
    pub const FIRST_LIMIT: u8 = 2;
    /// Set beside the action of a class that has exceptions.
    pub const HAS_EXCEPTIONS: u8 = 0x80;
}

/// A rule over the address policy that ends, or is about one port.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Exception {
    /// `address & mask == network` for both halves of a left-aligned address; zeroes for a class.
    pub network: [u64; 2],
    pub mask: [u64; 2],
    /// Over from this time on, nanoseconds of CLOCK_BOOTTIME, at most [`exception::NO_END`].
    pub until_ns: u64,
    /// 0: all packets. Else IP protocol << 16 | destination port.
    pub service: u32,
    /// A class, or one of the subjects of [`exception`].
    pub subject: u16,
    /// What such packets get, see [`exception`].
    pub gets: u16,
}

impl Exception {
    /// About nothing.
    pub const NONE: Self = Self {
        network: [0; 2],
        mask: [0; 2],
        until_ns: 0,
        service: 0,
        subject: exception::PREFIX_V4,
        gets: exception::NOTHING,
    };
}

/// The numbers in [`Exception`].
pub mod exception {
    use crate::country::Class;

    /// Subject: IPv4 sources within the prefix.
    pub const PREFIX_V4: u16 = 0x100;
    /// Subject: IPv6 sources within the prefix.
    pub const PREFIX_V6: u16 = 0x200;
    /// Set beside one of these two: not those that a rule of the table names, that is, whose class is
    /// [`Class::TRUSTED`], [`Class::RULE_ALLOW`] or [`Class::RULE_DENY`].
    pub const YIELDS: u16 = 0x400;
    /// A subject that no exception has.
    pub const NOBODY: u16 = 0x800;
    /// The latest time that can be compared by subtraction.
    pub const NO_END: u64 = u64::MAX >> 1;
    /// Gets: what its class gets.
    pub const NOTHING: u16 = 0xffff;

    /// Gets: to count as a source of `class`, and the action of [`super::action`].
    #[inline(always)] // A shift.
    pub const fn gets(class: Class, action: u8) -> u16 {
        (class.0 as u16) << 8 | action as u16
    }

    /// The two of [`gets`]; what they are of [`NOTHING`] means nothing.
    #[inline(always)] // A shift.
    pub const fn class_and_action(gets: u16) -> (Class, u8) {
        (Class((gets >> 8) as u8), gets as u8)
    }
}

/// One named limit, in ticks of [`crate::limit::TICK_NS`]; see [`crate::limit`] for the formula.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limit {
    /// Ticks between packets at the limit; 0: packets are not limited.
    pub packet_interval: u64,
    /// Ticks that a source may run ahead with packets: (burst - 1) × interval.
    pub packet_tolerance: u64,
    /// Ticks between new TCP connections at the limit; 0: they are not limited.
    pub connection_interval: u64,
    /// Ticks that a source may run ahead with new connections.
    pub connection_tolerance: u64,
    /// Leading bits of an IPv4 address that make the source, 8 to 32.
    pub ipv4_prefix_len: u32,
    /// Leading bits of an IPv6 address that make the source, 16 to 64.
    pub ipv6_prefix_len: u32,
}

impl Limit {
    /// Limits nothing.
    pub const NONE: Self = Self {
        packet_interval: 0,
        packet_tolerance: 0,
        connection_interval: 0,
        connection_tolerance: 0,
        ipv4_prefix_len: 32,
        ipv6_prefix_len: 64,
    };
}

/// What the gate looks at.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Scope {
    /// Bits of [`scope_flag`].
    pub flags: u32,
    pub destination_count_v4: u32,
    pub destination_count_v6: u32,
    pub _pad: u32,
    /// One bit for each IP protocol that is in scope as a whole.
    pub protocols: [u64; 4],
    pub destinations_v4: [PrefixV4; MAX_DESTINATIONS],
    pub destinations_v6: [PrefixV6; MAX_DESTINATIONS],
}

/// Bits of [`Scope::flags`].
pub mod scope_flag {
    /// Only the listed destinations are in scope.
    pub const DESTINATIONS: u32 = 1 << 0;
    /// Only the listed ports and protocols are in scope.
    pub const SERVICES: u32 = 1 << 1;
    /// At least one TCP port is listed.
    pub const TCP_PORTS: u32 = 1 << 2;
    /// At least one UDP port is listed.
    pub const UDP_PORTS: u32 = 1 << 3;
    /// Some prefix has exceptions. It stands here, since the short cut has to look at these flags anyway.
    pub const PREFIX_EXCEPTIONS: u32 = 1 << 4;
}

impl Scope {
    /// Everything is in scope.
    pub const EVERYTHING: Self = Self {
        flags: 0,
        destination_count_v4: 0,
        destination_count_v6: 0,
        _pad: 0,
        protocols: [0; 4],
        destinations_v4: [PrefixV4 {
            network: 0,
            mask: 0,
        }; MAX_DESTINATIONS],
        destinations_v6: [PrefixV6 {
            network: [0; 2],
            mask: [0; 2],
        }; MAX_DESTINATIONS],
    };
}

/// `address & mask == network`, host byte order.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PrefixV4 {
    pub network: u32,
    pub mask: u32,
}

/// `address & mask == network` for both halves, the upper first, host byte order.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PrefixV6 {
    pub network: [u64; 2],
    pub mask: [u64; 2],
}

/// One bit for each port, host byte order: word `port / 64`, bit `port % 64`.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PortSet(pub [u64; 1024]);

/// Value `generation * PORT_SETS + …` of the port map.
pub const PORT_SETS: usize = 2;
pub const TCP_PORT_SET: usize = 0;
pub const UDP_PORT_SET: usize = 1;

/// The key of a ban. Its value is the expiry: nanoseconds of CLOCK_BOOTTIME, a `u64`.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct BanKey {
    /// Network byte order, bits behind the prefix 0; IPv4 in the first four bytes.
    pub address: [u8; 16],
    /// Bits.
    pub prefix_len: u8,
    /// 4 or 6.
    pub family: u8,
    pub _pad: [u8; 6],
}

/// Packets and bytes (of whole frames, from the destination MAC on, without FCS; of what
/// [`crate::parse::parse_plain`] reads without padding that a driver puts into a further buffer).
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Count {
    pub packets: u64,
    pub bytes: u64,
}

impl Count {
    pub const ZERO: Self = Self {
        packets: 0,
        bytes: 0,
    };
}

/// The last value of the counter map, for a gate with `interface_count` interfaces.
///
/// The map holds, in this order: what this load counts, by slot of the interface; what the loads
/// before it had counted, by slot; and here the frames of any interface that the daemon did not name.
/// Test runs (BPF_PROG_TEST_RUN) make such frames, and members of a bond that the daemon has not heard of yet, so
/// nothing that is shown as traffic counts them.
#[inline(always)] // A shift, on the packet path.
pub const fn elsewhere_slot(interface_count: u32) -> u32 {
    2 * interface_count
}

/// Nanoseconds that a window of [`Control::event_window`] lasts.
pub const EVENT_WINDOW_NS: u64 = 100_000_000;

/// Bytes of the ring buffer for events: those of 22 reasons that all spend the budget of a window, 100 events.
pub const EVENT_BYTES: usize = 512 * 1024;

/// Bytes of a frame that an event holds: all headers of nearly all packets, and the beginning of what they carry.
pub const EVENT_HEAD: usize = 192;

/// One frame that was dropped, or would have been.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Event {
    /// Nanoseconds of CLOCK_BOOTTIME.
    pub time_ns: u64,
    /// Frames that this CPU has dropped for the same reason since its last event of it, this one among them.
    pub stands_for: u64,
    /// Kernel interface index.
    pub ifindex: u32,
    /// Bytes of the whole frame, as the counters have them.
    pub frame_len: u32,
    /// Bytes of `head` that are of the frame.
    pub head_len: u16,
    /// [`Reason`].
    pub reason: u8,
    /// The class of the source; means nothing without [`event_flag::HAS_CLASS`].
    pub class: u8,
    /// Bits of [`event_flag`].
    pub flags: u16,
    /// The lower bits of the CPU's number.
    pub cpu: u16,
    /// The frame from the destination MAC on.
    pub head: [u8; EVENT_HEAD],
}

/// Bits of [`Event::flags`].
pub mod event_flag {
    /// Observe mode let it pass.
    pub const OBSERVED: u16 = 1 << 0;
    pub const HAS_CLASS: u16 = 1 << 1;
}

/// What a CPU keeps of the events of one reason.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sampling {
    /// The window in which the budget was spent.
    pub spent: u32,
    /// The window that `used` is about.
    pub window: u32,
    /// Events made in it.
    pub used: u32,
    pub _pad: u32,
    /// Events made.
    pub made: u64,
    /// Events that found no room in the ring buffer.
    pub lost: u64,
    /// Frames of the reason at the last event.
    pub frames: u64,
}

impl Sampling {
    pub const NONE: Self = Self {
        spent: 0,
        window: 0,
        used: 0,
        _pad: 0,
        made: 0,
        lost: 0,
        frames: 0,
    };
}

/// Room for reasons in [`Counters`]; a power of two, so that a mask proves the bound.
pub const REASON_SLOTS: usize = ours_or(32, 64);

/// How a frame ended, as the counters tell it apart.
pub mod outcome {
    pub const PASSED: usize = 0;
    pub const DROPPED: usize = 1;
    /// Would have been dropped, had the mode been enforce.
    pub const WOULD_DROP: usize = 2;
    pub const COUNT: usize = 3;
}

/// The counters of one interface on one CPU.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Counters {
    /// By reason; second index 0: the verdict of the reason happened, 1: observe mode let it pass.
    pub reasons: [[Count; 2]; REASON_SLOTS],
    /// By class of the source and [`outcome`].
    pub classes: [[Count; outcome::COUNT]; crate::country::Class::COUNT],
    /// By reason.
    pub sampling: [Sampling; REASON_SLOTS],
    /// Where the kernel side lays the packet that it is at. The verifier follows every way through
    /// the parser to its end; what is read back from a map has the same unknown value on all of them,
    /// so that it follows the rest of the program once.
    pub packet: PacketSlot,
    /// Where the parser lays a number for the same purpose.
    pub number: u64,
    /// What the clock said to this CPU a moment ago.
    pub clock: RecentTime,
}

impl Counters {
    /// Nothing counted.
    pub const ZERO: Self = Self {
        reasons: [[Count::ZERO; 2]; REASON_SLOTS],
        classes: [[Count::ZERO; outcome::COUNT]; crate::country::Class::COUNT],
        sampling: [Sampling::NONE; REASON_SLOTS],
        packet: PacketSlot([0; 5]),
        number: 0,
        clock: RecentTime {
            jiffies: 0,
            now_ns: 0,
        },
    };
}

/// The time at the first packet after a timer tick.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct RecentTime {
    /// The kernel's count of ticks then.
    pub jiffies: u64,
    /// Nanoseconds of CLOCK_BOOTTIME.
    pub now_ns: u64,
}

/// Room for one [`crate::packet::Packet`], which the host never reads.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
pub struct PacketSlot([u64; 5]);

/// What the programs behind the gate lay down of one packet, on one CPU; see [`Counters::packet`].
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Tracking {
    pub packet: PacketSlot,
    pub number: u64,
}

const _: () = {
    assert!(Reason::COUNT <= REASON_SLOTS);
    assert!(
        size_of::<Control>()
            == 24 + 16 + 8 + 5 * (MAX_INTERFACES + MAX_MEMBERS) + 16 + 16 + 16 + 64 + 8 + 4 * 8192
    );
    // Written as one word each.
    assert!(core::mem::offset_of!(Control, ban_lengths_v4).is_multiple_of(8));
    assert!(core::mem::offset_of!(Control, ban_lengths_v6).is_multiple_of(8));
    assert!(size_of::<Limit>() == 40);
    assert!(size_of::<Scope>() == 16 + 32 + 16 * 8 + 16 * 32);
    assert!(size_of::<Exception>() == 48);
    assert!(MAX_EXCEPTIONS.is_power_of_two());
    assert!(action::FIRST_LIMIT as usize + MAX_LIMITS <= action::HAS_EXCEPTIONS as usize);
    assert!(
        size_of::<PolicyBlock>()
            == 256 + MAX_LIMITS * 40 + 688 + 8 + 8 + 512 + 8 + MAX_EXCEPTIONS * 48
    );
    assert!(size_of::<PortSet>() == 8192);
    assert!(size_of::<BanKey>() == 24);
    assert!(size_of::<Event>() == 32 + EVENT_HEAD);
    assert!(size_of::<Counters>() == REASON_SLOTS * (2 * 16 + 40) + 256 * 3 * 16 + 40 + 8 + 16);
    // The largest value that a per-CPU map takes (PCPU_MIN_UNIT_SIZE).
    assert!(size_of::<Counters>() <= 32 * 1024);
    assert!(size_of::<crate::packet::Packet>() <= size_of::<PacketSlot>());
};

#[cfg(feature = "user")]
mod pod {
    // SAFETY: all of these are `repr(C)` or `repr(transparent)`, made of integers alone, without
    // padding (the asserts above add the fields up), so any bytes are a valid value.
    unsafe impl aya::Pod for super::Control {}
    unsafe impl aya::Pod for super::PolicyBlock {}
    unsafe impl aya::Pod for super::PortSet {}
    unsafe impl aya::Pod for super::BanKey {}
    unsafe impl aya::Pod for super::Count {}
    unsafe impl aya::Pod for super::Counters {}
    unsafe impl aya::Pod for super::Event {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trial_ends_by_itself() {
        let control = |trial_until_ns| Control {
            published: 2,
            observe: 0,
            trial_until_ns,
            published_before: 1,
            observe_before: 1,
            ..Control::EMPTY
        };
        let tried = InForce {
            published: 2,
            observe: 0,
        };
        let before = InForce {
            published: 1,
            observe: 1,
        };
        for (until, now, expected) in [
            (0, u64::MAX, tried),
            (1_000, 0, tried),
            (1_000, 999, tried),
            (1_000, 1_000, before),
            (1_000, u64::MAX, before),
        ] {
            assert_eq!(control(until).in_force(|| now), expected, "{until} {now}");
        }
        // Outside a trial nobody asks what time it is.
        control(0).in_force(|| panic!("asked for the time"));
    }
}
