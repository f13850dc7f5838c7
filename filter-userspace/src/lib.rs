//! Everything of cerco that runs outside the kernel.

pub mod compile;
pub mod geo;
pub mod kernel;
pub mod policy;
