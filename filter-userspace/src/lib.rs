//! Everything of cerco that runs outside the kernel.
