//! What cerco decides about a packet, and nothing else.
//!
//! This crate is compiled twice: into the XDP program and into the daemon, its tests and
//! `cerco explain`. It reads no clock, no map and no file; whoever calls it brings the time, the
//! tables and the bytes. Modules stand in the order of a packet's way.
#![cfg_attr(not(test), no_std)]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

pub mod frame;
pub mod packet;
pub mod parse;

pub mod ban;
pub mod decide;
pub mod essential;
pub mod exception;
pub mod flow;
pub mod limit;
pub mod reply;
pub mod scope;
pub mod table;
pub mod track;

pub mod abi;
pub mod bits;
pub mod country;
pub mod observed;
pub mod verdict;
