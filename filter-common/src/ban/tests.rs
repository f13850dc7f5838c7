use super::{ban_key, is_banned, leading_ones};
use crate::{
    abi::{BanKey, NO_BAN_LENGTH},
    packet::Address,
};

const V4: Address = Address::v4([203, 0, 113, 0xff]);
const V6: Address = Address::v6([0xff; 16]);
const END: u8 = NO_BAN_LENGTH;

#[test]
fn key_holds_the_prefix_and_nothing_behind_it() {
    let key = |address: [u8; 16], prefix_len, family| BanKey {
        address,
        prefix_len,
        family,
        _pad: [0; 6],
    };
    let mut v4 = [0; 16];
    assert_eq!(ban_key(&V4, 0), key(v4, 0, 4));
    v4[..3].copy_from_slice(&[203, 0, 113]);
    assert_eq!(ban_key(&V4, 24), key(v4, 24, 4));
    v4[3] = 0xfe;
    assert_eq!(ban_key(&V4, 31), key(v4, 31, 4));
    v4[3] = 0xff;
    assert_eq!(ban_key(&V4, 32), key(v4, 32, 4));

    for prefix_len in 0..=128 {
        let expected = u128::MAX
            .checked_shl(128 - u32::from(prefix_len))
            .unwrap_or(0)
            .to_be_bytes();
        assert_eq!(ban_key(&V6, prefix_len), key(expected, prefix_len, 6));
    }
}

#[test]
fn leading_ones_fill_from_the_top() {
    for (count, expected) in [
        (0, 0),
        (1, 1 << 63),
        (63, !1),
        (64, !0),
        (65, !0),
        (255, !0),
    ] {
        assert_eq!(leading_ones(count), expected, "{count}");
    }
}

#[test]
fn ban_ends_exactly_when_its_expiry_is_reached() {
    let lengths = [32, END, END, END, END, END, END, END];
    for (now, banned) in [(0, true), (999, true), (1000, false), (1001, false)] {
        let asked = is_banned(&lengths, |_| Some(1000), || now, &V4);
        assert_eq!(asked, banned, "at {now}");
    }
}

#[test]
fn every_length_up_to_the_end_mark_is_asked_for() {
    let all = [32, 31, 24, 20, 16, 12, 8, 0];
    for (index, &length) in all.iter().enumerate() {
        let only = |key: &BanKey| (key.prefix_len == length).then_some(u64::MAX);
        assert!(is_banned(&all, only, || 0, &V4), "/{length}");
        let mut short = all;
        short[index..].fill(END);
        assert!(!is_banned(&short, only, || 0, &V4), "/{length}");
    }
}

#[test]
fn ban_that_is_over_does_not_hide_a_shorter_one() {
    let lengths = [32, 24, END, END, END, END, END, END];
    let expiry = |key: &BanKey| Some(if key.prefix_len == 32 { 10 } else { 1000 });
    assert!(is_banned(&lengths, expiry, || 500, &V4));
    assert!(!is_banned(&lengths, expiry, || 1000, &V4));
}

#[test]
fn clock_is_read_only_when_a_ban_is_found() {
    let lengths = [32, 24, END, END, END, END, END, END];
    let clock = || -> u64 { panic!("the clock costs more than the look-up") };
    assert!(!is_banned(&lengths, |_| None, clock, &V4));
    assert!(!is_banned(&[END; 8], |_| Some(u64::MAX), clock, &V6));
}
