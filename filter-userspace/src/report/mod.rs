//! The incident report: what the gate has turned away in a time, for people who do not run it.
//!
//! [`Report`] holds all that is said; [`page`] and [`csv`] only show it.

mod allowed;
pub mod csv;
mod gaps;
mod map;
mod methods;
pub mod networks;
pub mod numbers;
pub mod page;
mod period;
mod policy;
mod sentences;
pub mod sign;
mod sources;
mod time;
pub mod words;

pub use self::{
    networks::{Networks, NetworksError},
    numbers::{Material, Report},
};
