//! The program and its maps, loaded and open for change.

use std::{io, mem::offset_of, path::PathBuf, sync::atomic::Ordering};

use aya::{
    Ebpf, EbpfLoader,
    maps::{Map, MapData},
    programs::{Program, ProgramError, Xdp},
};
use aya_log::EbpfLogger;
use filter_common::{
    abi::{Control, InForce, MAX_INTERFACES, PolicyBlock, PortSet},
    country::Class,
    table::Line,
};

use super::{
    AttachPreference, Attachment, FlowTimeouts, GateOptions, KernelError, Mode, Replies,
    attach::For,
    bans::boot_ns,
    counters,
    flows::KeptFlows,
    mapped::MappedArray,
    observed::KeptObserved,
    pins::PinPaths,
    table_map::{TABLE, TableMap},
    trackers::{Hang, TRACKERS, TrackerAttachment, TrackerFault, tracker},
    unfinished::finish_killed_start,
};
use crate::{
    both::both,
    compile::{CompiledPolicy, LIMITER_SETS, action_in_place_of},
    faults::{Step, reached},
    policy::Action,
};

/// The compiled eBPF object, with the XDP program `cerco`.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/cerco.bpf.o"));

/// The program in [`OBJECT`].
pub(super) const PROGRAM: &str = "cerco";

/// Ends a message about something that the kernel did not permit.
pub(super) const NEEDS_CAPABILITIES: &str =
    "; run cerco as root, or give it CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON";

/// Room that a table gets beyond what it needs now, so that the next database fits as well.
const TABLE_HEADROOM_PERCENT: usize = 25;

/// The reader of the program's messages.
pub type Logger = EbpfLogger<&'static dyn log::Log>;

/// The program and its maps in the kernel.
///
/// Dropping it leaves the gate standing: links and maps are pinned.
pub struct Gate {
    pub(super) ebpf: Ebpf,
    pub(super) paths: PinPaths,
    /// By slot of the counters.
    pub(super) interfaces: Vec<String>,
    /// Slots that the counter map has.
    pub(super) slots: usize,
    pub(super) attachments: Vec<Attachment>,
    pub(super) control: MappedArray<Control>,
    pub(super) policy: MappedArray<PolicyBlock>,
    pub(super) ports: MappedArray<PortSet>,
    pub(super) lines_per_generation: usize,
    pub(super) replies: Replies,
    /// The flow table is the one of the load before.
    pub(super) flows_kept: bool,
    /// Interfaces whose trackers were attached, and how.
    pub(super) tracked: Vec<(String, TrackerAttachment)>,
    pub(super) tracker_faults: Vec<TrackerFault>,
    logger: Option<Logger>,
}

/// What a load starts with; making it takes some 20 ms, in which other things can be done.
pub struct Loader(EbpfLoader<'static>);

impl Loader {
    /// Reads and parses the kernel's type information, because aya's loader always does. The program
    /// has no relocations against it, so the memory is given back at once.
    #[expect(clippy::new_without_default, reason = "a default should be cheap")]
    pub fn new() -> Self {
        let mut loader = EbpfLoader::new();
        loader.btf(None);
        Self(loader)
    }
}

impl Gate {
    /// Loads program and maps, sized for `compiled`, publishes `compiled`, sets the mode, and takes
    /// over the bans that an earlier daemon left pinned. Nothing is attached yet.
    pub fn load(compiled: &CompiledPolicy, options: &GateOptions) -> Result<Self, KernelError> {
        let needed = compiled.lines.len();
        let lines = needed + needed * TABLE_HEADROOM_PERCENT / 100;
        let mut gate = Self::load_empty(Loader::new(), lines, options)?;
        gate.fill(compiled)?;
        Ok(gate)
    }

    /// The first half of [`Gate::load`]. It does not need the policy, which can be compiled meanwhile:
    /// the verifier takes its time. `lines_per_generation` is the room for a table.
    pub fn load_empty(
        loader: Loader,
        lines_per_generation: usize,
        options: &GateOptions,
    ) -> Result<Self, KernelError> {
        if options.interfaces.len() > MAX_INTERFACES {
            return Err(KernelError::TooManyInterfaces);
        }
        let slots = (options.interfaces.len() + options.spare_slots).min(MAX_INTERFACES);
        let paths = PinPaths::new(PathBuf::from(&options.pins));
        finish_killed_start(&paths)?;
        let Loader(mut loader) = loader;
        let table = TableMap::create(&paths.loading_directory(), lines_per_generation)?;
        table.give_to(&mut loader);
        let kept_flows = match options.replies.enabled {
            true => KeptFlows::find(&paths),
            false => None,
        };
        if let Some(kept) = &kept_flows {
            kept.give_to(&mut loader);
        }
        let observed = KeptObserved::find(&paths);
        observed.give_to(&mut loader);
        let mut ebpf = loader
            .map_max_entries("PACKET_STAMPS", LIMITER_SETS)
            .map_max_entries("CONN_STAMPS", LIMITER_SETS)
            .map_max_entries("COUNTERS", counters::map_len(slots))
            .load(OBJECT)
            .map_err(load_error)?;
        reached(Step::LoadMaps);
        load_programs(&mut ebpf, options.replies.enabled)?;
        reached(Step::LoadPrograms);
        let logger = EbpfLogger::init(&mut ebpf)
            .inspect_err(log_init_failure)
            .ok();

        let control = MappedArray::new(array(&ebpf, "CONTROL")?, "CONTROL")?;
        let policy = MappedArray::new(array(&ebpf, "POLICY")?, "POLICY")?;
        let ports = MappedArray::new(array(&ebpf, "PORTS")?, "PORTS")?;
        let gate = Self {
            paths,
            interfaces: options.interfaces.clone(),
            slots,
            attachments: Vec::new(),
            control,
            policy,
            ports,
            lines_per_generation,
            replies: options.replies,
            flows_kept: kept_flows.is_some(),
            tracked: Vec::new(),
            tracker_faults: Vec::new(),
            ebpf,
            logger,
        };
        gate.write_control(options.mode, kept_flows.as_ref())?;
        reached(Step::LoadControl);
        observed.go_on(&gate)?;
        Ok(gate)
    }

    /// The second half of [`Gate::load`]: publishes the first policy and takes over the bans.
    pub fn fill(&mut self, compiled: &CompiledPolicy) -> Result<(), KernelError> {
        self.publish(compiled)?;
        self.adopt_bans()
    }

    /// Loads anew, for a policy that has outgrown the table, and puts the new program on the links of
    /// this one: no frame passes unfiltered. Mode, bans and counters go along; the limiter starts
    /// from rest.
    ///
    /// On error this gate goes on as before. One that somebody has taken down stays down.
    pub fn renew(
        &mut self,
        compiled: &CompiledPolicy,
        preference: AttachPreference,
    ) -> Result<(), KernelError> {
        // The new load would know nothing of the way back.
        if self.trial().is_some() {
            return Err(KernelError::OnTrial);
        }
        if self.is_taken_down() {
            return Err(KernelError::TakenDown);
        }
        let options = GateOptions {
            interfaces: self.interfaces.clone(),
            spare_slots: self.slots - self.interfaces.len(),
            pins: self.paths.root().to_path_buf(),
            mode: self.mode(),
            replies: self.replies,
        };
        let mut renewed = Self::load(compiled, &options)?;
        // What an interface has counted that is gone at the moment is found by its last number.
        let last = self.control.read(0).interfaces;
        for (slot, ifindex) in last.into_iter().enumerate() {
            renewed.store(
                offset_of!(Control, interfaces) + slot * size_of::<u32>(),
                ifindex,
            );
        }
        let needs_one = !self.attachments.is_empty();
        if let Err(error) = renewed.attach_what_is_there(preference, For::Renewal { needs_one }) {
            if self.is_taken_down() {
                self.take_down_again()?;
                return Err(KernelError::TakenDown);
            }
            // Some links may have the new programs already, which this value does not steer.
            let put_back = self.places_now().and_then(|places| {
                self.attach_trackers(&places, |_| Hang::InPlace)?;
                self.renew_reply_ports()?;
                Ok(self.attach_links(&places, preference))
            });
            match put_back {
                Ok(None) => {}
                Ok(Some(second)) | Err(second) => {
                    tracing::error!("the earlier program could not be put back: {second}");
                }
            }
            return Err(error);
        }
        *self = renewed;
        Ok(())
    }

    /// The program's messages; the daemon waits on it and flushes it. `None` from the second call on,
    /// and when the kernel refused the ring buffer.
    pub fn take_logger(&mut self) -> Option<Logger> {
        self.logger.take()
    }

    pub fn mode(&self) -> Mode {
        mode_of(&self.control)
    }

    /// Takes effect with the next packet.
    pub fn set_mode(&self, mode: Mode) {
        if mode == Mode::Observe && self.mode() == Mode::Enforce {
            self.begin_observed_time();
        }
        self.store(offset_of!(Control, observe), observe_flag(mode));
    }

    /// What the sources of `class` get from the next packet on: one byte in the kernel, no rebuild.
    pub fn set_action(&self, class: Class, action: Action) {
        let Some(generation) = self.generation() else {
            return;
        };
        let offset = offset_of!(PolicyBlock, actions) + usize::from(class.0);
        let place = self.policy.byte(generation, offset);
        let before = place.load(Ordering::Acquire);
        place.store(action_in_place_of(before, action), Ordering::Release);
    }

    /// Maps the address table, for as long as the result lives: most of the daemon's memory would be
    /// this mapping, and it is needed only now and then.
    pub(super) fn table(&self) -> Result<MappedArray<Line>, KernelError> {
        MappedArray::of_one_value(array(&self.ebpf, TABLE)?, TABLE)
    }

    /// The generation that a trial falls back to, 0 or 1.
    pub(super) fn generation_before(&self) -> Option<usize> {
        (self.control.read(0).published_before as usize).checked_sub(1)
    }

    /// The generation that decides now, 0 or 1.
    pub(super) fn generation(&self) -> Option<usize> {
        published_generation(&self.control)
    }

    /// From the next packet on.
    pub fn set_flow_timeouts(&mut self, timeouts: FlowTimeouts) {
        self.replies.timeouts = timeouts;
        for (state, ticks) in timeouts.ticks().into_iter().enumerate() {
            self.store(
                offset_of!(Control, flow_timeouts) + state * size_of::<u32>(),
                ticks,
            );
        }
    }

    fn write_control(&self, mode: Mode, kept: Option<&KeptFlows>) -> Result<(), KernelError> {
        let [limiter_seed, flow_seed] = random_seeds()?;
        let control = Control {
            observe: observe_flag(mode),
            lines_per_generation: self.lines_per_generation as u32,
            interface_count: self.slots as u32,
            limiter_seed,
            flow_seed,
            flow_timeouts: self.replies.timeouts.ticks(),
            ..Control::EMPTY
        };
        let control = kept.map_or(control, |kept| kept.go_on(control));
        self.control.write(0, &[control]);
        Ok(())
    }

    /// Writes one word of the control block; all that was written before is seen first.
    pub(super) fn store(&self, offset: usize, value: u32) {
        self.control.word(0, offset).store(value, Ordering::Release);
    }
}

/// Numbers that nobody outside can guess.
fn random_seeds() -> Result<[[u64; 2]; 2], KernelError> {
    let mut words = [0u64; 4];
    // SAFETY: the buffer has the length that is passed, and any bytes are integers.
    let filled = unsafe { libc::getrandom(words.as_mut_ptr().cast(), size_of_val(&words), 0) };
    if filled != size_of_val(&words) as isize {
        return Err(KernelError::Random {
            source: io::Error::last_os_error(),
        });
    }
    let [a, b, c, d] = words;
    Ok([[a, b], [c, d]])
}

/// The mode in force.
pub(super) fn mode_of(control: &MappedArray<Control>) -> Mode {
    mode_of_flag(in_force(control).observe)
}

/// `observe` as in [`Control::observe`].
pub(super) const fn mode_of_flag(observe: u32) -> Mode {
    match observe {
        0 => Mode::Enforce,
        _ => Mode::Observe,
    }
}

/// The generation in force, if there is one.
pub(super) fn published_generation(control: &MappedArray<Control>) -> Option<usize> {
    (in_force(control).published as usize).checked_sub(1)
}

fn in_force(control: &MappedArray<Control>) -> InForce {
    control
        .get(0)
        .expect("invariant: the control map has one value")
        .in_force(boot_ns)
}

fn observe_flag(mode: Mode) -> u32 {
    match mode {
        Mode::Observe => 1,
        Mode::Enforce => 0,
    }
}

pub(super) fn program(ebpf: &mut Ebpf) -> Result<&mut Xdp, KernelError> {
    let missing = KernelError::ObjectIncomplete {
        kind: "program",
        name: PROGRAM,
    };
    match ebpf.program_mut(PROGRAM).map(TryInto::try_into) {
        Some(Ok(program)) => Ok(program),
        _ => Err(missing),
    }
}

/// An array of the object. Opening it anew by its id would need CAP_SYS_ADMIN.
pub(super) fn array<'a>(ebpf: &'a Ebpf, name: &'static str) -> Result<&'a MapData, KernelError> {
    match ebpf.map(name) {
        Some(Map::Array(data)) => Ok(data),
        _ => Err(KernelError::ObjectIncomplete { kind: "map", name }),
    }
}

/// A map of the object as the type that its users want.
pub(super) fn typed<M, T>(map: Option<M>, name: &'static str) -> Result<T, KernelError>
where
    T: TryFrom<M, Error = aya::maps::MapError>,
{
    let map = map.ok_or(KernelError::ObjectIncomplete { kind: "map", name })?;
    T::try_from(map).map_err(KernelError::map("open", name))
}

/// Gets the gate, and the trackers beside it if they are wanted, past the verifier, which works on several CPUs at a
/// time.
fn load_programs(ebpf: &mut Ebpf, with_trackers: bool) -> Result<(), KernelError> {
    // What the object does not have is said before the verifier is asked.
    program(ebpf)?;
    let (mut gate, mut trackers) = (None, Vec::new());
    if with_trackers {
        for (name, _, _) in TRACKERS {
            tracker(ebpf, name)?;
        }
    }
    for (name, program) in ebpf.programs_mut() {
        match program {
            Program::Xdp(program) if name == PROGRAM => gate = Some(program),
            Program::SchedClassifier(program) if with_trackers => trackers.push(program),
            _ => {}
        }
    }
    let (gate, trackers) = both(
        || gate.map_or(Ok(()), |gate| verified(|| gate.load())),
        || {
            let mut trackers = trackers.into_iter();
            trackers.try_for_each(|tracker| verified(|| tracker.load()))
        },
    )
    .map_err(KernelError::program("start a thread"))?;
    gate.and(trackers).map_err(load_error)
}

/// Loads until no signal comes in between: the verifier gives up when one does (EAGAIN, do_check() in
/// kernel/bpf/verifier.c), as when a reload is asked for meanwhile.
fn verified(mut load: impl FnMut() -> Result<(), ProgramError>) -> Result<(), ProgramError> {
    /// Some moments without a signal are enough; libbpf tries five times.
    const TRIES: usize = 20;
    for _ in 1..TRIES {
        match load() {
            Err(error) if errno_of(&error) == Some(libc::EAGAIN) => {}
            outcome => return outcome,
        }
    }
    load()
}

/// Lines of the verifier's log that are shown: the last ones say what it refused, and where.
const VERIFIER_LINES: usize = 12;

fn load_error(error: impl std::error::Error + 'static) -> KernelError {
    let errno = errno_of(&error);
    let log = verifier_log(&error).filter(|log| !log.trim().is_empty());
    let reason = match &log {
        Some(log) => {
            let lines: Vec<&str> = log.trim_end().lines().collect();
            let shown = &lines[lines.len().saturating_sub(VERIFIER_LINES)..];
            format!(
                "the kernel's verifier refused it ({}); the last {} of {} lines of its log:\n{}",
                errno.map_or_else(String::new, |errno| io::Error::from_raw_os_error(errno)
                    .to_string()),
                shown.len(),
                lines.len(),
                shown.join("\n")
            )
        }
        None => crate::cause::chain(&error),
    };
    let hint = match errno {
        // The verifier refuses with EACCES, too, and tells why; that is no lack of capabilities.
        Some(errno) if log.is_none() => load_hint(errno),
        _ => "",
    };
    KernelError::Load { reason, hint }
}

/// What to do about an errno of making maps or programs.
pub(super) fn load_hint(errno: i32) -> &'static str {
    match errno {
        libc::EPERM | libc::EACCES => NEEDS_CAPABILITIES,
        libc::EINVAL | libc::E2BIG => "; cerco needs Linux 6.1 or later, `uname -r` tells",
        libc::ENOMEM => "; the maps need some 40 MiB of kernel memory",
        _ => "",
    }
}

fn verifier_log(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    std::iter::successors(Some(error), |error| error.source()).find_map(|error| match error
        .downcast_ref::<ProgramError>(
    )? {
        ProgramError::LoadError { verifier_log, .. } => Some(verifier_log.to_string()),
        _ => None,
    })
}

/// The first errno in the chain of sources.
pub(super) fn errno_of(error: &(dyn std::error::Error + 'static)) -> Option<i32> {
    std::iter::successors(Some(error), |error| error.source())
        .filter_map(|error| error.downcast_ref::<io::Error>())
        .find_map(io::Error::raw_os_error)
}

fn log_init_failure(error: &aya_log::Error) {
    tracing::warn!("the program's messages cannot be read: {error}");
}
