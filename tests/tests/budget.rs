//! The program stays small: what the verifier has to walk, and what a packet pulls into the caches.

use filter_userspace::{
    compile::compile,
    geo,
    kernel::{Gate, GateOptions, Mode, Replies},
};
use integration_tests::policies;

/// Of each program: instructions that the verifier walks through, bytes of bytecode. Recorded on Linux 6.18 with
/// LLVM 22; see `programs_stay_within_their_budget` for how to raise them.
const BUDGET: [(&str, u32, u32); 3] = [
    ("cerco", 50_943, 52_960),
    ("cerco_in", 7_900, 10_576),
    ("cerco_out", 21_416, 17_352),
];
const SLACK_PERCENT: u32 = 10;

#[test]
fn programs_stay_within_their_budget() {
    let compiled = compile(&policies::deny_all(), &geo::builtin().unwrap()).unwrap();
    let options = GateOptions {
        interfaces: vec!["cerco-none".to_owned()],
        spare_slots: 0,
        pins: "/sys/fs/bpf/cerco-test-budget".into(),
        mode: Mode::Observe,
        replies: Replies::default(),
    };
    let sizes = Gate::load(&compiled, &options)
        .unwrap()
        .program_sizes()
        .unwrap()
        .expect("this kernel tells the size of programs (5.16)");
    println!("{sizes:#?}");
    let names: Vec<&str> = sizes.iter().map(|size| size.program).collect();
    assert_eq!(names, BUDGET.map(|(name, _, _)| name));
    for (size, (name, instructions, bytes)) in sizes.iter().zip(BUDGET) {
        let (verified, translated) = (size.verified_instructions, size.translated_bytes);
        for (what, measured, recorded) in [
            ("verified instructions", verified, instructions),
            ("translated bytes", translated, bytes),
        ] {
            let most = recorded + recorded * SLACK_PERCENT / 100;
            assert!(
                measured <= most,
                "{name}: {measured} {what} are over the budget of {most}: look for a branch or a loop \
                 that multiplied the ways through the program (the verifier gives up at 1,000,000 \
                 instructions); if the growth is worth it, write {measured} into BUDGET in {} and say \
                 why in the commit",
                file!(),
            );
            assert!(
                measured >= recorded / 2,
                "{name}: {measured} {what} are less than half of the recorded {recorded}: write \
                 {measured} into BUDGET in {}, so that the budget means something again",
                file!(),
            );
        }
    }
}
