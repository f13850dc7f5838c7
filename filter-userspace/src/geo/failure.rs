//! Why an update of the database did not come into force, as a label of a metric.

use super::error::{GeoError, Problem};

macro_rules! failures {
    ($($(#[$doc:meta])* $name:ident = $label:literal,)*) => {
        /// Why an update of the database did not come into force.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum UpdateFailure {
            $($(#[$doc])* $name,)*
        }

        impl UpdateFailure {
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The value of `reason` in `cerco_database_update_failures_total`.
            pub const fn label(self) -> &'static str {
                match self {
                    $(Self::$name => $label,)*
                }
            }
        }
    };
}

failures! {
    /// The file is missing, may not be read, is no file, is too large, or was written meanwhile.
    Unreadable = "unreadable",
    /// It is not what the checksum is of.
    Checksum = "checksum",
    /// Something in the file is wrong.
    Invalid = "invalid",
    /// The end seems to be missing.
    CutOff = "cut_off",
    /// Built before the last good one.
    Older = "older",
    /// Built at the same second as the last good one, and different.
    SameDate = "same_date",
    /// Too many or too few networks.
    Networks = "networks",
    /// Too much or too little address space.
    Space = "space",
    /// A country that the policy names has nothing left.
    CountryGone = "country_gone",
    /// A country that the policy names loses or takes too much.
    CountrySpace = "country_space",
    /// Too much address space changes its country.
    Reassigned = "reassigned",
    /// An address of `[geo.canaries]` has another country.
    Canary = "canary",
    /// It would cut off an SSH session.
    Lockout = "lockout",
    /// It was tried, and nobody has confirmed it.
    Unconfirmed = "unconfirmed",
    /// No table can be made of it, or published.
    Table = "table",
    /// It could not be fetched.
    Download = "download",
    /// It is not signed by whom it should be.
    Signature = "signature",
    /// It is in force, but could not be kept for the next start.
    NotKept = "not_kept",
}

impl UpdateFailure {
    /// The failure with this label.
    pub fn labelled(label: &str) -> Option<Self> {
        let mut all = Self::ALL.iter().copied();
        all.find(|failure| failure.label() == label)
    }

    /// Its place in [`Self::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl From<&GeoError> for UpdateFailure {
    fn from(error: &GeoError) -> Self {
        match *error.problem {
            Problem::Io(_)
            | Problem::NotAFile
            | Problem::TooLarge { .. }
            | Problem::WrittenMeanwhile => Self::Unreadable,
            Problem::Checksum { .. } | Problem::NoChecksum { .. } => Self::Checksum,
            _ => Self::Invalid,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_stands_at_its_index_with_a_label_of_its_own() {
        let mut labels = Vec::new();
        for (index, failure) in UpdateFailure::ALL.iter().enumerate() {
            assert_eq!(failure.index(), index);
            assert!(!labels.contains(&failure.label()), "{failure:?}");
            labels.push(failure.label());
        }
    }
}
