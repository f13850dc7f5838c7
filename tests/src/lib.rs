//! The harness of the integration tests: network namespaces, links and daemons as guards.
//!
//! Every guard undoes what it did when it is dropped, so also when a test panics. Namespaces are
//! anonymous (an open file descriptor, no name in the file system): even after SIGKILL the kernel
//! takes them away with the last process in them.

pub mod bench;
pub mod besieged;
pub mod browser;
pub mod counts;
pub mod daemon;
pub mod decided;
pub mod demo;
pub mod editions;
pub mod error;
pub mod follower;
pub mod frames;
pub mod guarded;
pub mod guest;
pub mod host_gate;
pub mod http;
pub mod https;
pub mod mmdb_file;
pub mod netns;
pub mod places;
pub mod policies;
pub mod poll;
pub mod process;
pub mod prometheus;
pub mod raw;
pub mod siege;
pub mod site;
pub mod storm;
pub mod talk;
pub mod tap;
pub mod terminal;
pub mod veth;
pub mod visits;
