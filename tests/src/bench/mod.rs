//! The benchmark: what a packet costs with cerco and with what else could be installed.

pub mod cable;
pub mod cpu;
pub mod drops;
pub mod loading;
pub mod row;
pub mod shared;
pub mod trace;
pub mod traffic;
