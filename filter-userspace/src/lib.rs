//! Everything of cerco that runs outside the kernel.

pub mod bench;
mod both;
pub mod capture;
mod cause;
pub mod cli;
pub mod compile;
pub mod config;
pub mod control;
pub mod countries;
pub mod daemon;
pub mod dashboard;
pub mod doctor;
mod doubts;
mod durable;
pub mod events;
pub mod faults;
pub mod generations;
pub mod geo;
pub mod history;
mod http;
pub mod kernel;
pub mod logins;
pub mod metrics;
pub mod policy;
pub mod protocols;
pub mod sessions;
pub mod update;
