//! The database that is embedded in the binary.

use super::error::{Fault, GeoError, Problem};
use super::{Database, Digest, Source, snapshot};

/// Made by `cargo xtask geo-snapshot`; data/README.md says from what.
const SNAPSHOT: &[u8] = include_bytes!("../../data/world.geo");

/// What the licence of the embedded data (CC BY 4.0) asks to be shown.
pub const ATTRIBUTION: &str = "IP Geolocation by DB-IP (https://db-ip.com), CC BY 4.0";

/// The embedded database.
///
/// Decodes anew on each call: that takes milliseconds, and a copy kept for later would take memory.
/// Fails only if the binary was built from a broken snapshot.
pub fn builtin() -> Result<Database, GeoError> {
    let parsed = snapshot::decode(SNAPSHOT)
        .map_err(|error| Fault::from(Problem::Snapshot(error)).in_source(Source::Builtin))?;
    let mut database = parsed.into_database(Source::Builtin);
    database.info.attribution = Some(ATTRIBUTION);
    Ok(database)
}

/// The digest of [`builtin`], which does not take the milliseconds for it when it is only read.
pub fn builtin_digest() -> Digest {
    Digest::of(SNAPSHOT)
}
