//! Bans in the kernel: a hash map, and the list of prefix lengths that a packet has to ask for.

use std::{
    borrow::Borrow,
    collections::BTreeSet,
    mem::offset_of,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::atomic::Ordering,
    time::Duration,
};

use aya::maps::{HashMap, MapData, MapError};
use filter_common::{
    abi::{BanKey, Control, MAX_BAN_LENGTHS, MAX_BANS, NO_BAN_LENGTH},
    ban::ban_key,
    packet::Address,
};
use ipnetwork::IpNetwork;

use super::{Ban, Gate, KernelError, load::typed, pins};

/// Prefix → expiry, nanoseconds of CLOCK_BOOTTIME.
pub(super) type BanMap<M> = HashMap<M, BanKey, u64>;

impl Gate {
    /// Bans a prefix for `duration` from now on; a ban of the same prefix gets the new end.
    pub fn ban(&mut self, prefix: IpNetwork, duration: Duration) -> Result<(), KernelError> {
        let expiry =
            boot_ns().saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
        self.insert(key(prefix), expiry)
    }

    /// False when there was no such ban.
    pub fn unban(&mut self, prefix: IpNetwork) -> Result<bool, KernelError> {
        match self.bans_mut()?.remove(&key(prefix)) {
            Ok(()) => {
                self.write_lengths()?;
                Ok(true)
            }
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
        list(&self.bans_map()?)
    }

    /// Deletes expired bans, which the kernel side ignores already. Returns how many.
    pub fn sweep_bans(&mut self) -> Result<usize, KernelError> {
        let now = boot_ns();
        let expired: Vec<BanKey> = entries(&self.bans_map()?)?
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
        let mut lengths = self.lengths(key.family);
        if !lengths.contains(&key.prefix_len) {
            if lengths.len() == MAX_BAN_LENGTHS {
                return Err(KernelError::TooManyBanLengths {
                    family: if key.family == 4 { "IPv4" } else { "IPv6" },
                    lengths: lengths.into_iter().collect(),
                    refused: key.prefix_len,
                });
            }
            lengths.insert(key.prefix_len);
            // First the length, then the ban: the other way round a ban could stand that no packet
            // asks for.
            self.store_lengths(key.family, &lengths);
        }
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
        let entries = entries(&self.bans_map()?)?;
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
pub(super) fn list<M: Borrow<MapData>>(bans: &BanMap<M>) -> Result<Vec<Ban>, KernelError> {
    let now = boot_ns();
    let mut bans: Vec<Ban> = entries(bans)?
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
    Ok(bans)
}

fn entries<M: Borrow<MapData>>(bans: &BanMap<M>) -> Result<Vec<(BanKey, u64)>, KernelError> {
    bans.iter()
        .collect::<Result<_, _>>()
        .map_err(KernelError::map("read", "BANS"))
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
pub(super) fn boot_ns() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the structure is ours; this clock exists since 2.6.39.
    unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
