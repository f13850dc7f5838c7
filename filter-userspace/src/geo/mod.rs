//! (Placeholder signatures: the real readers are written beside yours.)
use filter_common::country::CountryCode;
use std::{net::IpAddr, path::Path, time::SystemTime};
pub struct Range4 {
    pub first: u32,
    pub last: u32,
    pub country: CountryCode,
}
pub struct Range6 {
    pub first: u128,
    pub last: u128,
    pub country: CountryCode,
}
pub struct DatabaseInfo {
    pub source: String,
    pub format: &'static str,
    pub build_time: Option<SystemTime>,
    pub networks_v4: u64,
    pub networks_v6: u64,
    pub attribution: Option<&'static str>,
}
pub struct Database {
    pub v4: Vec<Range4>,
    pub v6: Vec<Range6>,
    pub info: DatabaseInfo,
}
pub struct Match {
    pub first: IpAddr,
    pub last: IpAddr,
    pub country: CountryCode,
}
impl Database {
    pub fn lookup(&self, address: IpAddr) -> Option<Match> {
        let _ = address;
        todo!()
    }
}
#[derive(Default)]
pub struct ReadOptions {
    pub country: Option<CountryCode>,
}
#[derive(Debug, thiserror::Error)]
pub enum GeoError {
    #[error("…")]
    Todo,
}
pub fn read_file(path: &Path, options: &ReadOptions) -> Result<Database, GeoError> {
    let _ = (path, options);
    todo!()
}
pub fn builtin() -> Result<Database, GeoError> {
    todo!()
}
