use anyhow::Result;
use filter_userspace::{
    compile::compile,
    geo,
    kernel::{AttachPreference, Gate, GateOptions, Mode},
};
use integration_tests::bench::{
    cable::{Cable, LINK},
    cpu,
    drops::{Drops, Program},
    row::best_and_median,
    trace::{Draw, Prefixes},
    traffic::{Sources, Traffic},
};
use integration_tests::policies;

fn main() -> Result<()> {
    let database = geo::builtin()?;
    let allowed = [policies::country("MO"), policies::country("CN")];
    let blocked = Prefixes::of(&database, |country| !allowed.contains(&country));
    println!("{} {}", blocked.v4.len(), blocked.v6.len());
    let mut traffic = Traffic::load()?;
    let compiled = compile(&policies::deny_all(), &database)?;
    let which: Vec<String> = std::env::args().skip(1).collect();
    let has = |n: &str| which.is_empty() || which.iter().any(|w| w == n);

    let mut cables = Vec::new();
    let mut keep = Vec::new();
    for (name, program) in [
        ("drop_all", Program::DropAll),
        ("parse_only", Program::ParseOnly),
        ("lpm", Program::LpmTrie),
    ] {
        if !has(name) {
            continue;
        }
        let cable = Cable::lay()?;
        let mut drops = Drops::load(program, &blocked)?;
        cable.receiver.run(|| drops.attach())??;
        cables.push((name, cable, drops.fd()?.try_clone()?));
        keep.push(drops);
    }
    let cable = Cable::lay()?;
    let options = GateOptions {
        interfaces: vec![LINK.to_owned()],
        pins: "/sys/fs/bpf/cerco-bench".into(),
        mode: Mode::Enforce,
    };
    let mut gate = Gate::load(&compiled, &options)?;
    cable
        .receiver
        .run(|| gate.attach(AttachPreference::Native).map(|_| ()))??;
    println!("{:?}", gate.program_size()?);
    cables.push(("cerco", cable, gate.program_fd()?.try_clone()?));
    cpu::pin()?;
    let rounds = 7;
    for sources in [Sources::TraceV4, Sources::TraceV6] {
        for draw in [Draw::Few, Draw::Many] {
            match sources {
                Sources::TraceV6 => traffic.set_v6(&blocked.draw_v6(draw))?,
                _ => traffic.set_v4(cables[0].1.frame(sources), &blocked.draw_v4(draw))?,
            }
            for path in [true, false] {
                let mut samples = vec![Vec::new(); cables.len()];
                for _ in 0..rounds {
                    for (index, (_, cable, fd)) in cables.iter().enumerate() {
                        if path {
                            samples[index].push(cable.send(&mut traffic, sources, 1 << 20)?);
                        } else {
                            traffic.set_program(fd)?;
                            let (ns, action) =
                                traffic.run(sources, cable.frame(sources), 1 << 20)?;
                            assert_eq!(action, 1);
                            samples[index].push(ns);
                        }
                    }
                }
                for ((name, ..), samples) in cables.iter().zip(&samples) {
                    let (best, median) = best_and_median(samples);
                    println!(
                        "{} {sources:?} {} {name:12} best {best:.1} median {median:.1}",
                        if path { "path" } else { "run " },
                        draw.label()
                    );
                }
            }
        }
    }
    for c in gate.counters()? {
        println!(
            "{:?}",
            c.enforced
                .iter()
                .enumerate()
                .filter(|(_, c)| c.packets > 0)
                .map(|(i, c)| (i, c.packets))
                .collect::<Vec<_>>()
        );
    }
    cables.iter().for_each(|_| ());
    drop(gate);
    filter_userspace::kernel::detach_all(std::path::Path::new("/sys/fs/bpf/cerco-bench"))?;
    Ok(())
}
