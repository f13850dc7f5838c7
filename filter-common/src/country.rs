//! Country codes and the classes that table leaves hold.

use core::fmt;

/// An ISO 3166-1 alpha-2 code: two upper-case ASCII letters, for instance `MO`.
///
/// The type holds any two letters, because databases also carry user-assigned codes (`XK` for
/// Kosovo); whether a code names a country that a sysadmin may configure is a question for
/// `filter-userspace::countries`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(transparent)]
pub struct CountryCode([u8; 2]);

impl CountryCode {
    /// Two ASCII letters of any case, or `None`.
    pub const fn new(letters: [u8; 2]) -> Option<Self> {
        if letters[0].is_ascii_alphabetic() && letters[1].is_ascii_alphabetic() {
            Some(Self([
                letters[0].to_ascii_uppercase(),
                letters[1].to_ascii_uppercase(),
            ]))
        } else {
            None
        }
    }

    /// Parses exactly two ASCII letters, in any case.
    pub fn parse(text: &str) -> Option<Self> {
        match *text.as_bytes() {
            [a, b] => Self::new([a, b]),
            _ => None,
        }
    }

    /// The two upper-case letters.
    pub const fn letters(self) -> [u8; 2] {
        self.0
    }

    /// The code as text.
    pub fn as_str(&self) -> &str {
        // Both bytes are ASCII letters by construction.
        core::str::from_utf8(&self.0).unwrap_or("??")
    }
}

impl fmt::Display for CountryCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for CountryCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a table leaf says about an address; indexes the action table.
///
/// 0 to 4 are fixed; from [`Class::FIRST_COUNTRY`] on, userspace numbers all countries in one fixed
/// order, so that a class and its counter mean the same country whatever the database.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[repr(transparent)]
pub struct Class(pub u8);

impl Class {
    /// The database does not know the address.
    pub const UNKNOWN: Self = Self(0);
    /// One of the sysadmin's own prefixes: passes, never limited, never banned.
    pub const TRUSTED: Self = Self(1);
    /// A prefix under `[rules] allow`.
    pub const RULE_ALLOW: Self = Self(2);
    /// A prefix under `[rules] deny`.
    pub const RULE_DENY: Self = Self(3);
    /// Private and link-local address space (RFC 1918, 3927, 4193, 4291 §2.5.6, 6598).
    pub const PRIVATE: Self = Self(4);
    /// The first number that stands for a country.
    pub const FIRST_COUNTRY: u8 = 5;
    /// Distinct values.
    pub const COUNT: usize = 256;
    /// How many countries fit beside the fixed classes and [`crate::table::FINER`], which is none; ISO
    /// 3166-1 has 249, and databases add Kosovo.
    pub const MAX_COUNTRIES: usize = crate::table::FINER as usize - Self::FIRST_COUNTRY as usize;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_two_letters_in_any_case() {
        assert_eq!(CountryCode::parse("mo").unwrap().letters(), *b"MO");
        assert_eq!(CountryCode::parse("mO").unwrap().as_str(), "MO");
        for bad in ["", "M", "MAC", "M1", "é", "M "] {
            assert_eq!(CountryCode::parse(bad), None, "{bad:?}");
        }
    }
}
