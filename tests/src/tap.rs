//! Counts frames by their source address, by means that cerco has no part in.
//!
//! The kernel gives a frame to packet sockets after a native or generic XDP program has let it
//! pass and before anything else looks at it, so a tap behind the gate counts exactly what the
//! gate let in. The counting is done by a classic BPF filter and the socket's statistics, which
//! include the frames that found the socket's buffer full: nobody has to read them.

use crate::{
    error::{Result, check},
    netns::NetNs,
    raw::RawSocket,
};
use std::{
    collections::BTreeSet,
    mem::size_of,
    net::{IpAddr, Ipv6Addr},
};

/// Which frames a tap counts.
#[derive(Clone, Debug)]
pub enum Count<'a> {
    /// Arriving IPv4 and IPv6 frames from one of these addresses.
    From(&'a BTreeSet<IpAddr>),
    /// Arriving IPv4 and IPv6 frames from any other address. IPv6 link-local sources, which
    /// neighbour discovery uses, are never counted.
    NotFrom(&'a BTreeSet<IpAddr>),
    /// Arriving and leaving frames from one of these addresses.
    FromEitherWay(&'a BTreeSet<IpAddr>),
}

/// A counter on a link, for as long as it lives.
#[derive(Debug)]
pub struct Tap {
    socket: RawSocket,
    counted: u64,
}

impl Tap {
    /// Starts to count.
    ///
    /// # Panics
    /// With more than some 200 addresses, which no longer fit the filter.
    pub fn open(netns: &NetNs, link: &str, count: &Count<'_>) -> Result<Self> {
        let socket = RawSocket::open(netns, link)?;
        // The smallest buffer that the kernel grants: the frames in it are never read.
        socket.set_option(libc::SOL_SOCKET, libc::SO_RCVBUF, &1_i32)?;
        attach_filter(&socket, &filter(count))?;
        let mut tap = Self { socket, counted: 0 };
        // What came in between `bind` and the filter was not filtered.
        tap.total()?;
        tap.counted = 0;
        Ok(tap)
    }

    /// Frames counted since the tap was opened.
    pub fn total(&mut self) -> Result<u64> {
        // SAFETY: an all-zero tpacket_stats is valid, both fields are integers.
        let mut stats: libc::tpacket_stats = unsafe { std::mem::zeroed() };
        let mut len = size_of::<libc::tpacket_stats>() as u32;
        // SAFETY: pointer and length describe `stats`.
        check(
            unsafe {
                libc::getsockopt(
                    self.socket.raw_fd(),
                    libc::SOL_PACKET,
                    libc::PACKET_STATISTICS,
                    (&raw mut stats).cast(),
                    &raw mut len,
                )
            },
            || "read the statistics of a tap".into(),
        )?;
        // The kernel resets its numbers at each read; `tp_packets` holds the dropped ones too.
        self.counted += u64::from(stats.tp_packets);
        Ok(self.counted)
    }
}

/// Keeps only frames that leave through the link, for a socket that reads them.
pub fn keep_outgoing(socket: &RawSocket) -> Result<()> {
    attach_filter(
        socket,
        &[
            load_packet_type(),
            jump_if_equal(libc::PACKET_OUTGOING.into(), 0, 1),
            RETURN_ALL,
            RETURN_NOTHING,
        ],
    )
}

const LOAD_WORD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const LOAD_HALF: u16 = (libc::BPF_LD | libc::BPF_H | libc::BPF_ABS) as u16;
const JUMP_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const JUMP_ALWAYS: u16 = (libc::BPF_JMP | libc::BPF_JA) as u16;
const AND: u16 = (libc::BPF_ALU | libc::BPF_AND | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

const RETURN_ALL: libc::sock_filter = statement(RETURN, u32::MAX);
const RETURN_NOTHING: libc::sock_filter = statement(RETURN, 0);

const ETHERTYPE_OFFSET: u32 = 12;
const IPV4_SOURCE_OFFSET: u32 = 14 + 12;
const IPV6_SOURCE_OFFSET: u32 = 14 + 8;

const fn statement(code: u16, k: u32) -> libc::sock_filter {
    libc::sock_filter {
        code,
        jt: 0,
        jf: 0,
        k,
    }
}

const fn jump_if_equal(k: u32, jt: u8, jf: u8) -> libc::sock_filter {
    libc::sock_filter {
        code: JUMP_EQUAL,
        jt,
        jf,
        k,
    }
}

/// Loads `skb->pkt_type`; negative offsets name such values (SKF_AD_OFF in linux/filter.h).
const fn load_packet_type() -> libc::sock_filter {
    const SKF_AD_OFF: i32 = -0x1000;
    const SKF_AD_PKTTYPE: i32 = 4;
    statement(
        (libc::BPF_LD | libc::BPF_B | libc::BPF_ABS) as u16,
        (SKF_AD_OFF + SKF_AD_PKTTYPE) as u32,
    )
}

/// The filter program: packet type, then family, then one comparison after the other.
fn filter(count: &Count<'_>) -> Vec<libc::sock_filter> {
    let (addresses, listed, unlisted) = match count {
        Count::From(addresses) | Count::FromEitherWay(addresses) => {
            (addresses, RETURN_ALL, RETURN_NOTHING)
        }
        Count::NotFrom(addresses) => (addresses, RETURN_NOTHING, RETURN_ALL),
    };
    let mut v4 = vec![statement(LOAD_WORD, IPV4_SOURCE_OFFSET)];
    let mut v6 = Vec::new();
    if matches!(count, Count::NotFrom(_)) {
        // fe80::/10
        v6.extend([
            statement(LOAD_HALF, IPV6_SOURCE_OFFSET),
            statement(AND, 0xffc0),
            jump_if_equal(0xfe80, 0, 1),
            RETURN_NOTHING,
        ]);
    }
    for address in addresses.iter() {
        match address {
            IpAddr::V4(address) => v4.extend([jump_if_equal((*address).into(), 0, 1), listed]),
            IpAddr::V6(address) => v6.extend(compare_v6(*address, listed)),
        }
    }
    v4.push(unlisted);
    v6.push(unlisted);

    let mut program = Vec::new();
    if !matches!(count, Count::FromEitherWay(_)) {
        program.extend([
            load_packet_type(),
            jump_if_equal(libc::PACKET_OUTGOING.into(), 0, 1),
            RETURN_NOTHING,
        ]);
    }
    let v4_len = u32::try_from(v4.len()).expect("a filter of fewer than 4096 instructions");
    program.extend([
        statement(LOAD_HALF, ETHERTYPE_OFFSET),
        jump_if_equal(0x86dd, 0, 1),
        // The conditional jumps reach only 255 instructions far; this one reaches any.
        statement(JUMP_ALWAYS, 2 + v4_len),
        jump_if_equal(0x0800, 1, 0),
        RETURN_NOTHING,
    ]);
    program.extend(v4);
    program.extend(v6);
    program
}

/// Four words compared one after the other; any difference leads behind the last.
fn compare_v6(address: Ipv6Addr, listed: libc::sock_filter) -> Vec<libc::sock_filter> {
    let words = address.to_bits();
    let mut program = Vec::with_capacity(9);
    for index in 0..4_u32 {
        let word = (words >> (96 - 32 * index)) as u32;
        // Behind this comparison stand two instructions for each later word, and the return.
        let to_next_address = (2 * (3 - index) + 1) as u8;
        program.push(statement(LOAD_WORD, IPV6_SOURCE_OFFSET + 4 * index));
        program.push(jump_if_equal(word, 0, to_next_address));
    }
    program.push(listed);
    program
}

fn attach_filter(socket: &RawSocket, program: &[libc::sock_filter]) -> Result<()> {
    let program = libc::sock_fprog {
        len: u16::try_from(program.len()).expect("a filter of fewer than 4096 instructions"),
        filter: program.as_ptr().cast_mut(),
    };
    socket.set_option(libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)
}
