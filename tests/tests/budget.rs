//! The program stays small: what the verifier has to walk, and what a packet pulls into the caches.

use filter_userspace::{
    compile::compile,
    geo,
    kernel::{Gate, GateOptions, Mode},
};
use integration_tests::policies;

/// Recorded on Linux 6.18 with LLVM 22; see `program_stays_within_its_budget` for how to raise them.
const VERIFIED_INSTRUCTIONS: u32 = 57_676;
const TRANSLATED_BYTES: u32 = 39_944;
const SLACK_PERCENT: u32 = 10;

#[test]
fn program_stays_within_its_budget() {
    let compiled = compile(&policies::deny_all(), &geo::builtin().unwrap()).unwrap();
    let options = GateOptions {
        interfaces: vec!["cerco-none".to_owned()],
        pins: "/sys/fs/bpf/cerco-test-budget".into(),
        mode: Mode::Observe,
    };
    let size = Gate::load(&compiled, &options)
        .unwrap()
        .program_size()
        .unwrap()
        .expect("this kernel tells the size of programs (5.16)");
    println!("{size:?}");
    for (name, measured, recorded) in [
        (
            "VERIFIED_INSTRUCTIONS",
            size.verified_instructions,
            VERIFIED_INSTRUCTIONS,
        ),
        ("TRANSLATED_BYTES", size.translated_bytes, TRANSLATED_BYTES),
    ] {
        let most = recorded + recorded * SLACK_PERCENT / 100;
        assert!(
            measured <= most,
            "{measured} is over the budget of {most}: look for a branch or a loop that multiplied \
             the ways through the program (the verifier gives up at 1,000,000 instructions); if the \
             growth is worth it, set {name} in {} to {measured} and say why in the commit",
            file!(),
        );
        assert!(
            measured >= recorded / 2,
            "{measured} is less than half of the recorded {recorded}: set {name} in {} to \
             {measured}, so that the budget means something again",
            file!(),
        );
    }
}
