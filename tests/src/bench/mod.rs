//! The benchmark: what a packet costs with cerco and with what else could be installed.

pub mod cable;
pub mod cpu;
pub mod dir_24_8;
pub mod drops;
pub mod lookup;
pub mod lookup_layout;
pub mod lookup_programs;
pub mod program;
pub mod program_cases;
pub mod program_gates;
pub mod row;
pub mod shared;
pub mod trace;
pub mod traffic;
pub mod xdp_filter;
