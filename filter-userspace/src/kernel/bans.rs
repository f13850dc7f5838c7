//! Bans in the kernel: a hash map, and the list of prefix lengths that a packet has to ask for.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    mem::offset_of,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::atomic::Ordering,
    time::Duration,
};

use aya::maps::{self, Map, MapData, MapError};
use filter_common::{
    abi::{BanKey, Control, MAX_BAN_LENGTHS, MAX_BANS, NO_BAN_LENGTH},
    ban::ban_key,
    packet::Address,
};
use ipnetwork::IpNetwork;

use super::{Ban, Gate, KernelError, batch, load::typed, pins};

/// Prefix → expiry, nanoseconds of CLOCK_BOOTTIME.
pub(super) type BanMap<M> = maps::HashMap<M, BanKey, u64>;

impl Gate {
    /// Bans a prefix for `duration` from now on; a ban of the same prefix gets the new end.
    pub fn ban(&mut self, prefix: IpNetwork, duration: Duration) -> Result<(), KernelError> {
        self.insert(key(prefix), expiry_ns(duration))
    }

    /// Bans many prefixes for `duration` from now on, all of them or none.
    pub fn ban_all(
        &mut self,
        prefixes: &[IpNetwork],
        duration: Duration,
    ) -> Result<(), KernelError> {
        let keys: HashSet<BanKey> = prefixes.iter().map(|prefix| key(*prefix)).collect();
        let before: HashMap<BanKey, u64> = self.ban_entries()?.into_iter().collect();
        let new = keys.iter().filter(|key| !before.contains_key(key)).count();
        if before.len() + new > MAX_BANS {
            return Err(KernelError::TooManyBans { capacity: MAX_BANS });
        }
        let expiry = expiry_ns(duration);
        // The lengths first, since that is what may well fail, and no ban stands yet.
        let outcome = keys
            .iter()
            .try_for_each(|key| self.admit_length(key))
            .and_then(|()| keys.iter().try_for_each(|key| self.insert(*key, expiry)));
        if outcome.is_err() {
            self.take_back(&keys, &before)?;
        }
        outcome
    }

    /// Makes the bans of `keys`, of which some may have been made, what they were in `before`.
    fn take_back(
        &mut self,
        keys: &HashSet<BanKey>,
        before: &HashMap<BanKey, u64>,
    ) -> Result<(), KernelError> {
        for key in keys {
            match before.get(key) {
                Some(expiry) => self.insert(*key, *expiry)?,
                None => {
                    self.delete(key)?;
                }
            }
        }
        self.write_lengths()
    }

    /// False when there was no such ban.
    pub fn unban(&mut self, prefix: IpNetwork) -> Result<bool, KernelError> {
        let was_there = self.delete(&key(prefix))?;
        if was_there {
            self.write_lengths()?;
        }
        Ok(was_there)
    }

    /// False when there was no such entry.
    fn delete(&mut self, key: &BanKey) -> Result<bool, KernelError> {
        match self.bans_mut()?.remove(key) {
            Ok(()) => Ok(true),
            Err(MapError::KeyNotFound) => Ok(false),
            Err(MapError::SyscallError(error))
                if error.io_error.raw_os_error() == Some(libc::ENOENT) =>
            {
                Ok(false)
            }
            Err(error) => Err(KernelError::map("delete from", "BANS")(error)),
        }
    }

    /// The bans that have not expired, sorted by prefix.
    pub fn bans(&self) -> Result<Vec<Ban>, KernelError> {
        Ok(sorted(self.ban_entries()?))
    }

    /// How many bans have not expired.
    pub fn ban_count(&self) -> Result<usize, KernelError> {
        let now = boot_ns();
        let entries = self.ban_entries()?;
        Ok(entries.iter().filter(|(_, expiry)| *expiry > now).count())
    }

    /// Every ban in the map, also those that have expired.
    fn ban_entries(&self) -> Result<Vec<(BanKey, u64)>, KernelError> {
        // Looking through the buckets of an empty map takes a millisecond, and a scrape comes every few
        // seconds on a host that has never banned anybody.
        if [4, 6].map(|family| self.lengths(family).is_empty()) == [true; 2] {
            return Ok(Vec::new());
        }
        match self.ebpf.map("BANS") {
            Some(Map::HashMap(data)) => entries(data),
            _ => Err(KernelError::ObjectIncomplete {
                kind: "map",
                name: "BANS",
            }),
        }
    }

    /// Deletes expired bans, which the kernel side ignores already. Returns how many.
    pub fn sweep_bans(&mut self) -> Result<usize, KernelError> {
        let now = boot_ns();
        let expired: Vec<BanKey> = self
            .ban_entries()?
            .into_iter()
            .filter(|(_, expiry)| *expiry <= now)
            .map(|(key, _)| key)
            .collect();
        for key in &expired {
            self.bans_mut()?
                .remove(key)
                .map_err(KernelError::map("delete from", "BANS"))?;
        }
        if !expired.is_empty() {
            self.write_lengths()?;
        }
        Ok(expired.len())
    }

    /// Takes over what an earlier daemon left pinned.
    pub(super) fn adopt_bans(&mut self) -> Result<(), KernelError> {
        let Some(earlier) = pins::pinned_bans(&self.paths)? else {
            return Ok(());
        };
        let now = boot_ns();
        for (key, expiry) in entries(&earlier)? {
            if expiry > now {
                self.insert(key, expiry)?;
            }
        }
        Ok(())
    }

    fn insert(&mut self, key: BanKey, expiry: u64) -> Result<(), KernelError> {
        // First the length, then the ban: the other way round a ban could stand that no packet asks
        // for.
        self.admit_length(&key)?;
        self.bans_mut()?
            .insert(key, expiry, 0)
            .map_err(|error| match error {
                MapError::SyscallError(error)
                    if error.io_error.raw_os_error() == Some(libc::E2BIG) =>
                {
                    KernelError::TooManyBans { capacity: MAX_BANS }
                }
                error => KernelError::map("write to", "BANS")(error),
            })
    }

    /// Lets packets ask for the prefix length of `key`, if there is room for one more.
    fn admit_length(&self, key: &BanKey) -> Result<(), KernelError> {
        let mut lengths = self.lengths(key.family);
        if lengths.contains(&key.prefix_len) {
            return Ok(());
        }
        if lengths.len() == MAX_BAN_LENGTHS {
            return Err(KernelError::TooManyBanLengths {
                family: if key.family == 4 { "IPv4" } else { "IPv6" },
                lengths: lengths.into_iter().collect(),
                refused: key.prefix_len,
            });
        }
        lengths.insert(key.prefix_len);
        self.store_lengths(key.family, &lengths);
        Ok(())
    }

    /// The lengths that packets ask for now.
    fn lengths(&self, family: u8) -> BTreeSet<u8> {
        let control = self.control.read(0);
        let lengths = match family {
            4 => control.ban_lengths_v4,
            _ => control.ban_lengths_v6,
        };
        lengths
            .into_iter()
            .take_while(|length| *length != NO_BAN_LENGTH)
            .collect()
    }

    fn write_lengths(&self) -> Result<(), KernelError> {
        let entries = self.ban_entries()?;
        for family in [4, 6] {
            let lengths = entries
                .iter()
                .filter(|(key, _)| key.family == family)
                .map(|(key, _)| key.prefix_len)
                .collect();
            self.store_lengths(family, &lengths);
        }
        Ok(())
    }

    /// Longest prefix first. `lengths` has at most [`MAX_BAN_LENGTHS`] members.
    fn store_lengths(&self, family: u8, lengths: &BTreeSet<u8>) {
        let mut bytes = [NO_BAN_LENGTH; MAX_BAN_LENGTHS];
        for (place, length) in bytes.iter_mut().zip(lengths.iter().rev()) {
            *place = *length;
        }
        let offset = match family {
            4 => offset_of!(Control, ban_lengths_v4),
            _ => offset_of!(Control, ban_lengths_v6),
        };
        // One store: a packet sees the old list or the new one.
        self.control
            .double_word(0, offset)
            .store(u64::from_ne_bytes(bytes), Ordering::Release);
    }

    pub(super) fn bans_map(&self) -> Result<BanMap<&MapData>, KernelError> {
        typed(self.ebpf.map("BANS"), "BANS")
    }

    fn bans_mut(&mut self) -> Result<BanMap<&mut MapData>, KernelError> {
        typed(self.ebpf.map_mut("BANS"), "BANS")
    }
}

/// The bans of a map that have not expired, sorted by prefix.
pub(super) fn list(bans: &MapData) -> Result<Vec<Ban>, KernelError> {
    Ok(sorted(entries(bans)?))
}

fn sorted(entries: Vec<(BanKey, u64)>) -> Vec<Ban> {
    let now = boot_ns();
    let mut bans: Vec<Ban> = entries
        .into_iter()
        .filter(|(_, expiry)| *expiry > now)
        .filter_map(|(key, expiry)| {
            Some(Ban {
                prefix: prefix(&key)?,
                remaining: Duration::from_nanos(expiry - now),
            })
        })
        .collect();
    bans.sort_by_key(|ban| ban.prefix);
    bans
}

fn entries(bans: &MapData) -> Result<Vec<(BanKey, u64)>, KernelError> {
    batch::entries(bans).map_err(KernelError::map("read", "BANS"))
}

fn expiry_ns(duration: Duration) -> u64 {
    boot_ns().saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
}

fn key(prefix: IpNetwork) -> BanKey {
    ban_key(&Address::from(prefix.ip()), prefix.prefix())
}

fn prefix(key: &BanKey) -> Option<IpNetwork> {
    let [a, b, c, d, ..] = key.address;
    let address = match key.family {
        4 => IpAddr::V4(Ipv4Addr::new(a, b, c, d)),
        _ => IpAddr::V6(Ipv6Addr::from(key.address)),
    };
    IpNetwork::new(address, key.prefix_len).ok()
}

/// Nanoseconds of CLOCK_BOOTTIME, the clock of the kernel side.
pub fn boot_ns() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the structure is ours; this clock exists since 2.6.39.
    unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
