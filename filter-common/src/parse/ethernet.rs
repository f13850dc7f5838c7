//! Ethernet II with up to two VLAN tags (IEEE 802.3 §3.2, 802.1Q §9).

use super::ParseError;
use crate::frame::FrameBytes;

/// Tags that are read: customer tag, or service tag and customer tag.
pub const MAX_VLAN_TAGS: usize = 2;

pub(super) const HEADER_LEN: usize = 6 + 6 + 2;
const VLAN_TAG_LEN: usize = 4;

pub(super) const ETHERTYPE_IPV4: u16 = 0x0800;
pub(super) const ETHERTYPE_IPV6: u16 = 0x86dd;
const ETHERTYPE_8021Q: u16 = 0x8100;
const ETHERTYPE_8021AD: u16 = 0x88a8;

/// Where the IP header starts.
pub(super) enum Network {
    Ipv4 { offset: usize },
    Ipv6 { offset: usize },
}

/// `None`: no IP inside (802.3 length fields are EtherTypes below 0x0600 and end here as well).
#[inline(always)] // See `super::parse`.
pub(super) fn parse<F: FrameBytes + ?Sized>(frame: &F) -> Result<Option<Network>, ParseError> {
    let mut offset = HEADER_LEN;
    let mut ethertype = ethertype_before(frame, offset)?;
    for _ in 0..MAX_VLAN_TAGS {
        if !is_vlan(ethertype) {
            break;
        }
        offset += VLAN_TAG_LEN;
        ethertype = ethertype_before(frame, offset)?;
    }
    match ethertype {
        ETHERTYPE_IPV4 => Ok(Some(Network::Ipv4 { offset })),
        ETHERTYPE_IPV6 => Ok(Some(Network::Ipv6 { offset })),
        _ if is_vlan(ethertype) => Err(ParseError::TooManyVlanTags),
        _ => Ok(None),
    }
}

/// The EtherType is the last field of the header, and of each tag.
#[inline(always)] // See `super::parse`.
fn ethertype_before<F: FrameBytes + ?Sized>(frame: &F, end: usize) -> Result<u16, ParseError> {
    frame
        .read::<u16, 1>(end - 2)
        .map(|[ethertype]| ethertype)
        .ok_or(ParseError::TruncatedEthernet)
}

const fn is_vlan(ethertype: u16) -> bool {
    matches!(ethertype, ETHERTYPE_8021Q | ETHERTYPE_8021AD)
}
