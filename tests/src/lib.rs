//! The harness of the integration tests: network namespaces, links and daemons as guards.
