//! What cerco decides about a packet, and nothing else.
//!
//! This crate is compiled twice: into the XDP program and into the daemon, its tests and
//! `cerco explain`. It reads no clock, no map and no file; whoever calls it brings the time, the
//! tables and the bytes.
#![cfg_attr(not(test), no_std)]

pub mod country;
pub mod verdict;
