//! What the driver of an interface says about itself, by SIOCETHTOOL. Only asks; needs no rights.

use std::{
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
};

/// RX queues of an interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Channels {
    /// In use: those for RX alone and those for both ways.
    pub rx: u32,
    pub max_rx: u32,
    /// Whether queues serve both ways, as `ethtool -L … combined` sets them.
    pub are_combined: bool,
}

/// One socket, for any number of questions.
pub struct Ethtool(OwnedFd);

// include/uapi/linux/ethtool.h
const ETHTOOL_GDRVINFO: u32 = 0x03;
const ETHTOOL_GSTRINGS: u32 = 0x1b;
const ETHTOOL_GSSET_INFO: u32 = 0x37;
const ETHTOOL_GFEATURES: u32 = 0x3a;
const ETHTOOL_GCHANNELS: u32 = 0x3c;
const ETH_SS_FEATURES: u32 = 4;
const NAME_BYTES: usize = 32;

impl Ethtool {
    /// Asks in the network namespace of the calling thread.
    pub fn open() -> io::Result<Self> {
        // SAFETY: socket takes no pointers.
        let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a new descriptor that nobody else owns.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// The name of the driver, as in `ixgbe`.
    pub fn driver(&self, interface: &str) -> io::Result<String> {
        /// `struct ethtool_drvinfo` has 196 bytes; the name of the driver lies behind the command.
        const DRVINFO_WORDS: usize = 196 / 4;
        let mut words = [0; DRVINFO_WORDS];
        words[0] = ETHTOOL_GDRVINFO;
        self.ask(interface, &mut words)?;
        Ok(text(&words[1..][..NAME_BYTES / 4]))
    }

    pub fn channels(&self, interface: &str) -> io::Result<Channels> {
        // Command, most of rx, tx, other and combined, and then those in use.
        let mut words = [0; 9];
        words[0] = ETHTOOL_GCHANNELS;
        self.ask(interface, &mut words)?;
        let [_, max_rx, _, _, max_combined, rx, _, _, combined] = words;
        Ok(Channels {
            rx: rx + combined,
            max_rx: max_rx + max_combined,
            are_combined: max_combined > 0,
        })
    }

    /// The names of the features that are on, as in `rx-lro`.
    pub fn features(&self, interface: &str) -> io::Result<Vec<String>> {
        let count = self.feature_count(interface)?;
        // Command, set and count, and then the names.
        let mut names = vec![0; 3 + count * NAME_BYTES / 4];
        names[..3].copy_from_slice(&[ETHTOOL_GSTRINGS, ETH_SS_FEATURES, count as u32]);
        self.ask(interface, &mut names)?;

        // Command and count of blocks, and then four words for 32 features each; the third one of a
        // block says which are on.
        const ACTIVE: usize = 2;
        let blocks = count.div_ceil(32);
        let mut words = vec![0; 2 + blocks * 4];
        words[..2].copy_from_slice(&[ETHTOOL_GFEATURES, blocks as u32]);
        self.ask(interface, &mut words)?;
        let is_on =
            |feature: &usize| words[2 + feature / 32 * 4 + ACTIVE] >> (feature % 32) & 1 == 1;
        let names = names[3..].chunks_exact(NAME_BYTES / 4).map(text);
        Ok(names
            .enumerate()
            .filter_map(|(feature, name)| is_on(&feature).then_some(name))
            .collect())
    }

    fn feature_count(&self, interface: &str) -> io::Result<usize> {
        // Command and padding, a mask of 64 bits, and a count for each bit.
        let mut words = [ETHTOOL_GSSET_INFO, 0, 0, 0, 0];
        let mask = (1u64 << ETH_SS_FEATURES).to_ne_bytes();
        let [a, b, c, d, e, f, g, h] = mask;
        words[2] = u32::from_ne_bytes([a, b, c, d]);
        words[3] = u32::from_ne_bytes([e, f, g, h]);
        self.ask(interface, &mut words)?;
        Ok(words[4] as usize)
    }

    /// `words`: the structure of the request, large enough for all that the kernel writes.
    fn ask(&self, interface: &str, words: &mut [u32]) -> io::Result<()> {
        // SAFETY: an all-zero ifreq is valid: integers, byte arrays and a null pointer.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        if interface.len() >= request.ifr_name.len() {
            return Err(io::Error::from_raw_os_error(libc::ENODEV));
        }
        for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes()) {
            *to = from as libc::c_char;
        }
        request.ifr_ifru.ifru_data = words.as_mut_ptr().cast();
        // SAFETY: `request` lives until the call returns, and so does what it points to.
        let status =
            unsafe { libc::ioctl(self.0.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
        if status != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }
}

/// Characters that lie in words, up to the first zero.
fn text(words: &[u32]) -> String {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    super::netlink::text_of(&bytes)
}
