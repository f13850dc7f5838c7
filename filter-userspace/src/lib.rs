//! Everything of cerco that runs outside the kernel.

pub mod countries;
pub mod geo;
