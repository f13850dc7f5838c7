//! Would a policy drop an SSH session?

use std::net::IpAddr;

use filter_common::{abi::action, country::Class, packet::Address};

use crate::{compile::CompiledPolicy, control::protocol::Refusal, policy::Policy};

/// The class for which `compiled` would deny the far end of a TCP connection to a local port; `None`
/// when it would not.
pub fn denied_class(
    policy: &Policy,
    compiled: &CompiledPolicy,
    (address, port): (IpAddr, u16),
) -> Option<String> {
    let class = compiled
        .lookup(&Address::from(address))
        .unwrap_or(Class::UNKNOWN);
    let is_denied = policy.scope.holds_tcp(port)
        && compiled.policy.actions[usize::from(class.0)] == action::DENY;
    is_denied.then(|| compiled.class_name(class))
}

/// Refuses a policy that would drop the SSH session in which somebody asks for it.
pub(super) fn refuse(
    policy: &Policy,
    compiled: &CompiledPolicy,
    peer: (IpAddr, u16),
) -> Result<(), Refusal> {
    let Some(class) = denied_class(policy, compiled, peer) else {
        return Ok(());
    };
    let (address, _) = peer;
    Err(Refusal::failed(format!(
        "the new policy would lock out your SSH session from {address} ({class}); let it in with \
         `cerco trust {address}`, or repeat it with --force"
    )))
}
