//! What stands under the pin directory, and how it is read without a daemon.
//!
//! ```text
//! <pins>/v<layout>/maps/<map>                  the maps of the program on the links
//! <pins>/v<layout>/maps/program                that program
//! <pins>/v<layout>/next/                       the same of a start that is not at its end yet
//! <pins>/v<layout>/loading/                    the table of a load, for a moment
//! <pins>/v<layout>/links/native-<interface>    or generic-<interface>, with ':' for each '.'
//! <pins>/v<layout>/tracking/in-<interface>     and out-<interface>
//! ```

use std::{
    fs, io,
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::fs::MetadataExt as _,
    },
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use aya::{
    maps::{HashMap, Map, MapData, MapType, PerCpuArray},
    programs::links::{FdLink, PinnedLink},
};
use filter_common::{
    abi::{ABI_VERSION, Control, Counters, PolicyBlock, attach_mode},
    country::{Class, CountryCode},
};

use super::{
    AttachMode, Attachment, Ban, Gate, InterfaceCounters, KernelError, Mode, bans,
    bans::BanMap,
    bpf, bpffs, counters,
    load::{mode_of, program, published_generation},
    mapped::{MappedArray, first_word},
    publish::{Trial, trial_of},
    unfinished,
};
use crate::{
    compile::class_name,
    faults::{Step, reached},
};

/// Of the directories' layout, not of the maps in them: whatever a map looks like, its link is found, and
/// a new program takes the place of the old one there.
const LAYOUT_VERSION: u32 = 1;

/// The program's pin beside its maps.
pub(super) const PROGRAM_PIN: &str = "program";

/// Where things are pinned.
#[derive(Clone, Debug)]
pub(super) struct PinPaths {
    root: PathBuf,
    version: PathBuf,
}

impl PinPaths {
    pub(super) fn new(root: PathBuf) -> Self {
        let version = root.join(format!("v{LAYOUT_VERSION}"));
        Self { root, version }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Creates the directories, and mounts the file system where that is needed.
    pub(super) fn prepare(&self) -> Result<(), KernelError> {
        for directory in [
            &self.root,
            &self.version,
            &self.links_directory(),
            &self.tracking_directory(),
        ] {
            bpffs::prepare(directory)?;
        }
        Ok(())
    }

    pub(super) fn link(&self, interface: &str, mode: AttachMode) -> PathBuf {
        // bpffs refuses names with a dot, and interface names never hold a colon.
        let name = interface.replace('.', ":");
        self.links_directory().join(match mode {
            AttachMode::Native => format!("native-{name}"),
            AttachMode::Generic => format!("generic-{name}"),
        })
    }

    /// The interfaces that have a pinned link, and the pins.
    pub(super) fn links(&self) -> Result<Vec<(String, PathBuf)>, KernelError> {
        interfaces_in(self.links_directory())
    }

    /// One of the programs behind the gate.
    pub(super) fn tracker(&self, prefix: &str, interface: &str) -> PathBuf {
        let name = interface.replace('.', ":");
        self.tracking_directory().join(format!("{prefix}-{name}"))
    }

    /// The interfaces that have a pinned tracker, and the pins, those of [`PinPaths::next_trackers`] among them.
    pub(super) fn trackers(&self) -> Result<Vec<(String, PathBuf)>, KernelError> {
        let mut trackers = interfaces_in(self.tracking_directory())?;
        for (interface, path) in &mut trackers {
            if is_next(path)
                && let Some((_, of)) = interface.split_once('-')
            {
                *interface = of.to_owned();
            }
        }
        Ok(trackers)
    }

    /// One that hangs beside [`PinPaths::tracker`], whose place it is to take.
    pub(super) fn next_tracker(&self, prefix: &str, interface: &str) -> PathBuf {
        self.tracker(&format!("{NEXT}{prefix}"), interface)
    }

    /// Those that hang beside another one.
    pub(super) fn next_trackers(&self) -> Result<Vec<NextTracker>, KernelError> {
        let mut next = interfaces_in(self.tracking_directory())?;
        next.retain(|(_, path)| is_next(path));
        let places = next.into_iter().filter_map(|(rest, next)| {
            // An older build takes `in-eth0` for the interface, and removes what is pinned for none of its own.
            let (prefix, interface) = rest.split_once('-')?;
            Some(NextTracker {
                path: self.tracker(prefix, interface),
                interface: interface.to_owned(),
                next,
            })
        });
        Ok(places.collect())
    }

    /// One of the maps of the program on the links.
    pub(super) fn map(&self, name: &str) -> PathBuf {
        self.maps_directory().join(name)
    }

    /// A name that no other gate of this host has: the directory is made when a gate is put up, and goes with it.
    pub(super) fn identity(&self) -> io::Result<String> {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
        let inode = fs::metadata(&self.version)?.ino();
        Ok(format!("{}:{inode}", boot.trim()))
    }

    /// Whether a gate is up here.
    pub(super) fn has_maps(&self) -> bool {
        self.maps_directory().exists()
    }

    /// After this nobody knows of a gate here, though its program may still be on the links.
    pub(super) fn remove_maps(&self) -> Result<(), KernelError> {
        remove_directory(&self.maps_directory())
    }

    /// Puts the pins of a start in the place of those before it. At no moment are there none.
    pub(super) fn publish_next_maps(&self) -> Result<(), KernelError> {
        self.exchange_maps()?;
        reached(Step::MapsExchanged);
        remove_directory(&self.next_directory())?;
        reached(Step::MapsRemoved);
        Ok(())
    }

    /// What was next is in force, and what was in force is next, which is nobody's then: without its program no
    /// link can be taken for one of its, such as that of an interface which is gone and took the old program along.
    pub(super) fn exchange_maps(&self) -> Result<(), KernelError> {
        let (maps, next) = (self.maps_directory(), self.next_directory());
        let program = maps.join(PROGRAM_PIN);
        match fs::remove_file(&program) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(KernelError::pin("remove", program)(error));
            }
            _ => {}
        }
        let renamed = match maps.exists() {
            true => bpffs::exchange(&next, &maps),
            false => fs::rename(&next, &maps),
        };
        renamed.map_err(KernelError::pin("rename", next))
    }

    /// Removes everything under the root, and the root.
    pub(super) fn remove_all(&self) -> Result<(), KernelError> {
        remove_directory(&self.root)
    }

    pub(super) fn maps_directory(&self) -> PathBuf {
        self.version.join("maps")
    }

    /// The maps of the program on the links, also when a start was killed before it had put its own in their place.
    fn maps_in_force(&self) -> Result<PathBuf, KernelError> {
        let next = self.next_directory();
        match unfinished::links_by_program(self, &next)?.taken.is_empty() {
            true => Ok(self.maps_directory()),
            false => Ok(next),
        }
    }

    pub(super) fn next_directory(&self) -> PathBuf {
        self.version.join("next")
    }

    /// For what is pinned only while a program is loaded.
    pub(super) fn loading_directory(&self) -> PathBuf {
        self.version.join("loading")
    }

    fn links_directory(&self) -> PathBuf {
        self.version.join("links")
    }

    fn tracking_directory(&self) -> PathBuf {
        self.version.join("tracking")
    }
}

/// A tracker that hangs beside another one.
pub(super) struct NextTracker {
    pub(super) interface: String,
    pub(super) next: PathBuf,
    /// Of the other one.
    pub(super) path: PathBuf,
}

/// How the name of such a pin begins.
pub(super) const NEXT: &str = "next-";

fn is_next(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|name| name.to_string_lossy().starts_with(NEXT))
}

/// Pins by interface: `<what>-<interface>`.
fn interfaces_in(directory: PathBuf) -> Result<Vec<(String, PathBuf)>, KernelError> {
    let entries = match fs::read_dir(&directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(KernelError::pin("list", directory)(error)),
    };
    let mut links = Vec::new();
    for entry in entries {
        let entry = entry.map_err(KernelError::pin("list", &directory))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if let Some((_, interface)) = name.split_once('-') {
            links.push((interface.replace(':', "."), entry.path()));
        }
    }
    Ok(links)
}

pub(super) fn remove_directory(directory: &Path) -> Result<(), KernelError> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(KernelError::pin("remove", directory)(error))
        }
        _ => Ok(()),
    }
}

impl Gate {
    /// Pins the maps of this load beside those of the one before.
    pub(super) fn pin_next_maps(&mut self) -> Result<(), KernelError> {
        let directory = self.paths.next_directory();
        // Left by a start that was killed before it got to its links.
        remove_directory(&directory)?;
        bpffs::prepare(&directory)?;
        for (name, map) in self.ebpf.maps() {
            // Sections of global data, which nobody reads from outside; bpffs refuses the dot.
            if name.starts_with('.') {
                continue;
            }
            let path = directory.join(name);
            map.pin(&path)
                .map_err(|error| KernelError::pin("pin a map at", path)(io::Error::other(error)))?;
            reached(Step::PinMap);
        }
        reached(Step::PinMaps);
        // The last: with it the directory is whole.
        let path = directory.join(PROGRAM_PIN);
        program(&mut self.ebpf)?
            .pin(&path)
            .map_err(|error| KernelError::pin("pin a program at", path)(io::Error::other(error)))?;
        reached(Step::PinProgram);
        Ok(())
    }
}

/// The bans that an earlier daemon left, if there was one.
pub(super) fn pinned_bans(paths: &PinPaths) -> Result<Option<MapData>, KernelError> {
    let path = paths.maps_directory().join("BANS");
    if !path.exists() {
        return Ok(None);
    }
    bpffs::check_owner(&paths.root)?;
    let data = MapData::from_pin(&path).map_err(KernelError::map("open pinned", "BANS"))?;
    Ok(Some(data))
}

/// The counters that an earlier load left in a directory of maps, if they are of this version.
pub(super) fn pinned_counters(
    paths: &PinPaths,
    maps: &Path,
) -> Result<Option<(CounterMap, MappedArray<Control>)>, KernelError> {
    if !maps.exists() {
        return Ok(None);
    }
    bpffs::check_owner(&paths.root)?;
    let open = |name: &'static str| {
        MapData::from_pin(maps.join(name)).map_err(KernelError::map("open pinned", name))
    };
    if abi_version_of(maps)? != ABI_VERSION {
        return Ok(None);
    }
    let control: MappedArray<Control> = MappedArray::new(&open("CONTROL")?, "CONTROL")?;
    let counters = PerCpuArray::try_from(Map::PerCpuArray(open("COUNTERS")?))
        .map_err(KernelError::map("open pinned", "COUNTERS"))?;
    Ok(Some((counters, control)))
}

/// The ABI version of the maps in a directory, whatever they look like: the control block begins with it in every
/// build.
pub(super) fn abi_version_of(maps: &Path) -> Result<u32, KernelError> {
    let map = MapData::from_pin(maps.join("CONTROL"))
        .map_err(KernelError::map("open pinned", "CONTROL"))?;
    first_word(&map).map_err(KernelError::map("read", "CONTROL"))
}

/// The control block of the program on the links. The directory's owner is checked.
pub(super) fn pinned_control(paths: &PinPaths) -> Result<MappedArray<Control>, KernelError> {
    bpffs::check_owner(&paths.root)?;
    let map = MapData::from_pin(paths.map("CONTROL"))
        .map_err(KernelError::map("open pinned", "CONTROL"))?;
    MappedArray::new(&map, "CONTROL")
}

/// Whether a pinned map is the array that this build would make; else what it is, in words.
pub(super) fn check_array(
    path: &Path,
    name: &str,
    value_bytes: usize,
    len: u32,
) -> Result<(), String> {
    // include/uapi/linux/bpf.h
    const BPF_F_MMAPABLE: u32 = 1 << 10;
    let map = MapData::from_pin(path).map_err(|error| error.to_string())?;
    let info = map.info().map_err(|error| error.to_string())?;
    let kind = info.map_type().map_err(|error| error.to_string())?;
    let found = (
        kind,
        info.key_size() as usize,
        info.value_size() as usize,
        info.max_entries(),
        info.map_flags(),
    );
    let expected = (MapType::Array, 4, value_bytes, len, BPF_F_MMAPABLE);
    match found == expected {
        true => Ok(()),
        false => Err(format!("{name} is {found:?}, and not {expected:?}")),
    }
}

/// One of the pinned maps.
pub(super) fn open_map(pins: &Path, name: &'static str) -> Result<MapData, KernelError> {
    let path = PinPaths::new(pins.to_path_buf())
        .maps_in_force()?
        .join(name);
    MapData::from_pin(path).map_err(KernelError::map("open pinned", name))
}

/// The number of the program on the pinned links; `None` when there are none.
pub(super) fn linked_program(pins: &Path) -> Result<Option<u32>, KernelError> {
    for (_, path) in PinPaths::new(pins.to_path_buf()).links()? {
        if let Some(id) = link_program(&path)? {
            return Ok(Some(id));
        }
    }
    Ok(None)
}

/// The number of the program on a pinned link, or of one that is pinned itself.
pub(super) fn link_program(path: &Path) -> Result<Option<u32>, KernelError> {
    link_field(path, "prog_id:")
}

/// The mode in which the link of this pin was attached.
pub(super) fn mode_of_link(path: &Path) -> AttachMode {
    let is_generic = path
        .file_name()
        .is_some_and(|name| name.to_string_lossy().starts_with("generic-"));
    match is_generic {
        true => AttachMode::Generic,
        false => AttachMode::Native,
    }
}

/// The interface that a pinned XDP link holds; `None` when it went away.
pub(super) fn link_ifindex(path: &Path) -> Result<Option<u32>, KernelError> {
    link_field(path, IFINDEX)
}

/// The same of a link that is open.
pub(super) fn ifindex_of(link: &OwnedFd) -> Result<Option<u32>, KernelError> {
    open_link_field(link, IFINDEX)
}

/// A pinned link, to be given another program; an error when it does not hold the interface any more, as
/// after that went and came back.
pub(super) fn link_on(path: &Path, ifindex: u32) -> Result<FdLink, String> {
    match link_ifindex(path).map_err(|error| error.to_string())? {
        Some(held) if held == ifindex => {}
        _ => return Err("it holds another interface, or none".to_owned()),
    }
    let pinned = PinnedLink::from_pin(path).map_err(|error| error.to_string())?;
    Ok(FdLink::from(pinned))
}

/// bpf_xdp_link_show_fdinfo() in net/core/dev.c; 0 after the device has gone.
const IFINDEX: &str = "ifindex:";

/// A number of the fdinfo of a pinned link; 0 is none.
fn link_field(path: &Path, name: &str) -> Result<Option<u32>, KernelError> {
    // aya opens pinned links but keeps their descriptors to itself.
    let link = bpf::open_pin(path).map_err(KernelError::pin("open", path))?;
    open_link_field(&link, name)
}

fn open_link_field(link: &OwnedFd, name: &str) -> Result<Option<u32>, KernelError> {
    let info = format!("/proc/self/fdinfo/{}", link.as_raw_fd());
    let text = fs::read_to_string(&info).map_err(KernelError::pin("read", info))?;
    let number = text
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(|value| value.trim().parse().ok());
    Ok(number.filter(|number| *number != 0))
}

/// Counters behind a pin.
pub(super) type CounterMap = PerCpuArray<MapData, Counters>;

/// What stands in the kernel, read from the pins: for when no daemon runs.
pub struct Pinned {
    pub(super) paths: PinPaths,
    pub(super) control: MappedArray<Control>,
    pub(super) policy: MappedArray<PolicyBlock>,
    counters: CounterMap,
    /// To read whole.
    bans: MapData,
    /// The same map, to look one up.
    pub(super) ban_map: BanMap<MapData>,
    attachments: Vec<Attachment>,
}

impl Pinned {
    /// `Ok(None)`: nothing is pinned there.
    pub fn open(pins: &Path) -> Result<Option<Self>, KernelError> {
        let paths = PinPaths::new(pins.to_path_buf());
        let maps = paths.maps_in_force()?;
        if !maps.exists() {
            return Ok(None);
        }
        bpffs::check_owner(pins)?;
        let open = |name: &'static str| {
            MapData::from_pin(maps.join(name)).map_err(KernelError::map("open pinned", name))
        };
        // Asked before the block is looked at, which has another size in another build.
        let found = abi_version_of(&maps)?;
        if found != ABI_VERSION {
            return Err(KernelError::AbiMismatch {
                path: maps,
                found,
                expected: ABI_VERSION,
            });
        }
        let control: MappedArray<Control> = MappedArray::new(&open("CONTROL")?, "CONTROL")?;
        let block = control.read(0);
        let attachments = paths
            .links()?
            .into_iter()
            .filter_map(|(interface, path)| {
                let ifindex = link_ifindex(&path).ok().flatten()?;
                let slot = block.interfaces.iter().position(|it| *it == ifindex)?;
                Some(Attachment {
                    interface,
                    ifindex,
                    mode: match block.attach_modes[slot] {
                        attach_mode::GENERIC => AttachMode::Generic,
                        _ => AttachMode::Native,
                    },
                    fallback_reason: None,
                })
            })
            .collect();
        Ok(Some(Self {
            paths,
            control,
            policy: MappedArray::new(&open("POLICY")?, "POLICY")?,
            counters: PerCpuArray::try_from(Map::PerCpuArray(open("COUNTERS")?))
                .map_err(KernelError::map("open pinned", "COUNTERS"))?,
            bans: open("BANS")?,
            ban_map: HashMap::try_from(Map::HashMap(open("BANS")?))
                .map_err(KernelError::map("open pinned", "BANS"))?,
            attachments,
        }))
    }

    pub fn attachments(&self) -> &[Attachment] {
        &self.attachments
    }

    pub fn mode(&self) -> Mode {
        mode_of(&self.control)
    }

    pub fn trial(&self) -> Option<Trial> {
        trial_of(&self.control)
    }

    pub fn counters(&self) -> Result<Vec<InterfaceCounters>, KernelError> {
        let all = counters::read(&self.counters, &self.control, |slot, ifindex| {
            self.attachments
                .iter()
                .find(|it| it.ifindex == ifindex)
                .map_or_else(|| format!("slot{slot}"), |it| it.interface.clone())
        })?;
        let numbers = self.control.read(0).interfaces;
        let in_use = all.into_iter().zip(numbers).filter(|(_, it)| *it != 0);
        Ok(in_use.map(|(counters, _)| counters).collect())
    }

    /// What test runs over the program have counted.
    pub fn elsewhere(&self) -> Result<InterfaceCounters, KernelError> {
        counters::elsewhere(&self.counters, &self.control)
    }

    pub fn bans(&self) -> Result<Vec<Ban>, KernelError> {
        bans::list(&self.bans)
    }

    /// The name of every class, by number.
    pub fn class_names(&self) -> Vec<String> {
        let letters = self.published().map(|block| block.country_letters);
        (0..=u8::MAX)
            .map(|class| {
                class_name(Class(class), |class| {
                    CountryCode::new(letters.map_or([0; 2], |all| all[usize::from(class.0)]))
                })
            })
            .collect()
    }

    /// When the policy that decides now was published.
    pub fn published_at(&self) -> Option<SystemTime> {
        let seconds = self.published()?.published_unix_s;
        UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
    }

    /// The policy that decides now.
    fn published(&self) -> Option<&PolicyBlock> {
        self.policy.get(published_generation(&self.control)?)
    }
}
