//! The XDP program of somebody else where the gate should stand: whose it is, and how it is taken off.

use super::{
    inventory,
    links::{self, Link, XdpPrograms},
    load::PROGRAM,
};

/// What ends the message about an interface that is busy. As far as this process may see: names and holders need
/// root.
pub(super) fn advice(interface: &str, ifindex: u32) -> String {
    let links = links::links().unwrap_or_default();
    let of_number = |number| links.iter().find(|it| it.index == number);
    let Some(link) = of_number(ifindex) else {
        return String::new();
    };
    let Some((id, mode)) = program_on(link) else {
        // The kernel refuses a program below one (dev_xdp_attach() in net/core/dev.c).
        let above = link.master.and_then(of_number);
        return match above.filter(|above| program_on(above).is_some()) {
            Some(above) => format!(
                "; it belongs to {0}, where an XDP program stands already, and the kernel takes none below \
                 that: have the gate on {0} alone, or take that program off",
                above.name
            ),
            None => format!("; another XDP program is there: `ip link show {interface}` names it"),
        };
    };
    let Ok(names) = inventory::program_names() else {
        return unseen_advice(id, mode);
    };
    Rival {
        id,
        mode,
        name: names.get(&id).cloned().unwrap_or_default(),
        bpf_link: inventory::link_number(id, ifindex),
        holder: inventory::program_holder(id),
    }
    .advice(&link.name)
}

/// For a process that has only the capabilities which the gate needs, as under the service manager.
fn unseen_advice(id: u32, mode: Mode) -> String {
    let mode = mode.word();
    format!(
        "; another XDP program is there: number {id}, {mode}. `cerco doctor`, run as root, names it and the \
         command that takes it off"
    )
}

fn program_on(link: &Link) -> Option<(u32, Mode)> {
    let XdpPrograms {
        native,
        generic,
        offloaded,
    } = link.xdp;
    native
        .map(|id| (id, Mode::Native))
        .or_else(|| generic.map(|id| (id, Mode::Generic)))
        .or_else(|| offloaded.map(|id| (id, Mode::Offloaded)))
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mode {
    Native,
    Generic,
    Offloaded,
}

impl Mode {
    const fn word(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
            Self::Offloaded => "offloaded",
        }
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Rival {
    id: u32,
    /// Empty where it has none.
    name: String,
    mode: Mode,
    /// The BPF link that holds it; `None`: attached by netlink.
    bpf_link: Option<u32>,
    /// Number and name of a process that has it open.
    holder: Option<(u32, String)>,
}

impl Rival {
    fn advice(&self, interface: &str) -> String {
        let name = match self.name.as_str() {
            "" => String::new(),
            name => format!(" `{name}`"),
        };
        let mode = self.mode.word();
        let switch = match self.mode {
            Mode::Native => "xdpdrv",
            Mode::Generic => "xdpgeneric",
            Mode::Offloaded => "xdpoffload",
        };
        let holder = self.holder.as_ref().map_or(String::new(), |(pid, name)| {
            format!(", held by process {pid} ({name}), which may put it up again")
        });
        let id = self.id;
        // libxdp puts a program of its own there, which calls those of its users.
        let is_dispatcher = self.name.starts_with("xdp_dispatcher");
        let take_off = match self.bpf_link {
            _ if self.name == PROGRAM => {
                "it is a gate with other pins: `cerco detach --force` with its config".to_owned()
            }
            _ if is_dispatcher => format!("`xdp-loader unload {interface} --all`"),
            Some(link) => format!("`bpftool link detach id {link}`"),
            None => format!("`ip link set dev {interface} {switch} off`"),
        };
        let dispatcher = match is_dispatcher {
            true => "; it is the dispatcher of libxdp, and `xdp-loader status` lists who is in it",
            false => "",
        };
        format!(
            "; another XDP program is there: number {id}{name}, {mode}{holder}{dispatcher}. {take_off} takes \
             it off; the other way is to leave it there and to take {interface} out of `interfaces`. \
             attach = \"generic\" does not help: the kernel runs no generic program beside another one"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_names_the_program_and_the_command_that_works_for_it() {
        let rival = Rival {
            id: 42,
            name: "xdp_lb".into(),
            mode: Mode::Native,
            bpf_link: None,
            holder: None,
        };
        let cases = [
            (
                rival.clone(),
                vec![
                    "number 42 `xdp_lb`, native.",
                    "`ip link set dev eth0 xdpdrv off` takes it off",
                ],
            ),
            (
                Rival {
                    mode: Mode::Generic,
                    name: String::new(),
                    ..rival.clone()
                },
                vec![
                    "number 42, generic.",
                    "`ip link set dev eth0 xdpgeneric off`",
                ],
            ),
            (
                Rival {
                    bpf_link: Some(9),
                    holder: Some((77, "katran".into())),
                    ..rival.clone()
                },
                vec![
                    "held by process 77 (katran), which may put it up again",
                    "`bpftool link detach id 9`",
                ],
            ),
            (
                Rival {
                    bpf_link: Some(9),
                    name: "xdp_dispatcher".into(),
                    ..rival
                },
                vec![
                    "the dispatcher of libxdp",
                    "`xdp-loader unload eth0 --all` takes it off",
                ],
            ),
        ];
        for (rival, expected) in cases {
            let advice = rival.advice("eth0");
            for words in expected {
                assert!(advice.contains(words), "no {words:?} in {advice}");
            }
        }
    }
}
