//! `cerco completions` and `cerco man`, from the definitions of the command line itself.

use std::{io::Write, path::PathBuf};

use clap_complete::Shell;

use super::{Failure, command};

/// Print the completions of a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  cerco completions bash > /etc/bash_completion.d/cerco")]
pub struct CompletionsArgs {
    shell: Shell,
}

/// Print the man page, or write all of them into a directory
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cerco man | man -l -
  cerco man /usr/local/share/man/man8")]
pub struct ManArgs {
    /// Where to write cerco.8, cerco-run.8 and so on
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,
}

/// Name of a thing, and what it is.
type Entries = &'static [(&'static str, &'static str)];

/// What the definitions of the options do not say; stands at the end of cerco(8).
const SECTIONS: &[(&str, Entries)] = &[
    (
        "ENVIRONMENT",
        &[
            ("CERCO_SOCKET", "The control socket, as --socket."),
            (
                "CERCO_LOG",
                "What cerco run logs, as in info or filter_userspace=debug.",
            ),
            (
                "MINISIGN_CONFIG_DIR",
                "Where cerco report --sign looks for minisign.key, in place of ~/.minisign.",
            ),
            ("NO_COLOR", "No colours when set and not empty."),
            (
                "SSH_CONNECTION",
                "Whose session must not be locked out; also looked for in parent processes.",
            ),
        ],
    ),
    (
        "FILES",
        &[
            (
                "/etc/cerco/cerco.toml",
                "The config. cerco check --example prints one.",
            ),
            (
                "/etc/cerco/conf.d/*.toml",
                "Read after it, in the order of their names; they override values and add to lists.",
            ),
            (
                "/run/cerco/cerco.sock",
                "The control socket. Members of the group cerco may read.",
            ),
            (
                "/var/lib/cerco/runtime.json",
                "Rules and mode set at runtime. The mode holds until mode in the config changes.",
            ),
            (
                "/var/lib/cerco/databases/",
                "Databases that were in force, for cerco geo rollback and for a start with a bad file.",
            ),
            (
                "/etc/cerco/dashboard.token",
                "The token of the dashboard, where [dashboard] token_file names it. Not readable by \
                 others; (umask 077; openssl rand -hex 32 > FILE) makes one.",
            ),
            (
                "/etc/GeoIP.conf",
                "Account and key for cerco geo update --from maxmind.",
            ),
            (
                "REPORT.minisig",
                "Beside a report: its signature, by cerco report --sign. minisign -V checks it.",
            ),
            (
                "DATABASE.sha256",
                "Beside a database file: what it must be, as sha256sum writes it. Not needed.",
            ),
            (
                "/sys/fs/bpf/cerco",
                "The gate itself, which outlives the daemon.",
            ),
        ],
    ),
    (
        "CONFIG AND RUNTIME",
        &[
            (
                "At runtime",
                "What allow, deny, trust, observe and enforce change goes over the config, and over \
                 restarts. cerco rules lists it apart.",
            ),
            (
                "--permanent",
                "Writes the change into the config instead and puts it in force. The file that \
                 speaks of the target is changed, else cerco.toml, or where that has no fitting \
                 section the last file that has it. Everything else in it stays as it is. What the \
                 daemon refuses is put back. The command writes with the rights of who types it; \
                 without a daemon the change takes effect at the next start. Not with --for, since \
                 a config has no end dates, and not with --confirm: try it first, and repeat it \
                 with --permanent after cerco confirm.",
            ),
            (
                "cerco diff",
                "What runs against what the files say: what comes with cerco reload, what with a \
                 restart, and what was made at runtime.",
            ),
        ],
    ),
    (
        "ANSWERS TO OWN CONNECTIONS",
        &[
            (
                "What passes",
                "Answers to what this host itself opens or asks, from everywhere: TCP from its SYN \
                 on, UDP from its first datagram to a peer that did not write first, pings, and the \
                 ICMP errors about them. Nothing has to be opened for DNS, NTP, apt or the download \
                 of a GeoIP database. No connection tracking is needed.",
            ),
            (
                "What does not",
                "What others begin. UDP services stay closed to those who are denied, and a ban \
                 holds for answers, too.",
            ),
            (
                "For how long",
                "As connection tracking has it: [replies] in the config has the times, and the \
                 switch.",
            ),
            (
                "Before Linux 6.6",
                "The programs that watch it are filters of the clsact qdisc, not TCX links. This \
                 was not tried yet.",
            ),
        ],
    ),
    (
        "DASHBOARD",
        &[
            (
                "[dashboard] enabled = true",
                "Serves live rates, a map, history and events to browsers, at 127.0.0.1:9843. From \
                 elsewhere: ssh -L 9843:localhost:9843 HOST, then open http://localhost:9843. It \
                 changes nothing.",
            ),
            (
                "Other addresses",
                "Refused without tls_certificate, tls_key and token_file. host_names are further \
                 names by which browsers may call this host.",
            ),
        ],
    ),
    (
        "SESSIONS THAT STAND",
        &[
            (
                "What is refused",
                "A change of policy, mode, config, database or bans that would cut off who is logged \
                 in, or a connection of an address that is trusted until then. --force does it all \
                 the same, and says whom it cuts off. While the gate observes there is a warning. So with \
                 cerco rollback, for who came in during the trial. Of a session that only a rule with \
                 an end lets in, every change says until when.",
            ),
            (
                "Who is logged in",
                "The session in which the command is typed, and whoever logind knows to come from \
                 another host. Where it does not tell, all connections to the ports that \
                 sshd_config names. Sessions that do not come by the gate do not count.",
            ),
            (
                "What is not judged",
                "What ends by itself or is taken back: rules whose time is over, trials, a start.",
            ),
        ],
    ),
    (
        "EXIT STATUS",
        &[
            ("0", "Done."),
            ("1", "Failed."),
            ("2", "Bad usage, or a fault in the config or the database."),
            (
                "3",
                "No daemon answers. The gate may stand all the same: see cerco status.",
            ),
            (
                "of cerco diff",
                "0 no difference, 1 a difference, 2 the config is wrong or cannot be read, 3 no \
                 daemon answers.",
            ),
            (
                "of cerco doctor",
                "0 no faults and warnings, 1 a warning, 2 a fault, as monitoring expects.",
            ),
        ],
    ),
];

pub fn completions(args: CompletionsArgs) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command(), "cerco", &mut script);
    std::io::stdout().write_all(&script)?;
    Ok(())
}

pub fn man(args: ManArgs) -> Result<(), Failure> {
    let Some(directory) = args.directory else {
        std::io::stdout().write_all(&main_page()?)?;
        return Ok(());
    };
    std::fs::create_dir_all(&directory).map_err(|error| {
        Failure::failed(format!("cannot create {}: {error}", directory.display()))
    })?;
    for (name, page) in pages()? {
        let path = directory.join(name);
        std::fs::write(&path, page).map_err(|error| {
            Failure::failed(format!("cannot write {}: {error}", path.display()))
        })?;
    }
    Ok(())
}

fn main_page() -> Result<Vec<u8>, Failure> {
    let mut page = Vec::new();
    section_8(command()).render(&mut page)?;
    for (title, entries) in SECTIONS {
        writeln!(page, ".SH \"{title}\"")?;
        for (name, meaning) in *entries {
            // A hyphen must be escaped, or groff makes a dash of it that cannot be copied.
            let escape = |text: &str| text.replace('-', "\\-");
            writeln!(page, ".TP\n\\fB{}\\fR\n{}", escape(name), escape(meaning))?;
        }
    }
    Ok(page)
}

/// File name and text of every page.
fn pages() -> Result<Vec<(String, Vec<u8>)>, Failure> {
    let mut pages = vec![("cerco.8".to_owned(), main_page()?)];
    let mut command = command();
    command.build();
    for verb in command
        .get_subcommands()
        .filter(|verb| verb.get_name() != "help")
    {
        // The definition is 'static, the page's name is not; it is made once in a process.
        let name: &'static str = format!("cerco-{}", verb.get_name()).leak();
        let mut page = Vec::new();
        section_8(verb.clone().name(name).version(env!("CARGO_PKG_VERSION"))).render(&mut page)?;
        pages.push((format!("{name}.8"), page));
    }
    Ok(pages)
}

fn section_8(command: clap::Command) -> clap_mangen::Man {
    clap_mangen::Man::new(command).section("8").manual("cerco")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_has_a_page_and_the_main_page_its_sections() {
        let pages = pages().unwrap();
        assert_eq!(pages.len(), 1 + 29);
        let main = String::from_utf8(pages[0].1.clone()).unwrap();
        for needle in [
            "ENVIRONMENT",
            "FILES",
            "EXIT STATUS",
            "ANSWERS TO OWN CONNECTIONS",
            "DASHBOARD",
            "CONFIG AND RUNTIME",
            "runtime.json",
            "cerco\\-run(8)",
        ] {
            assert!(main.contains(needle), "{needle} is not in\n{main}");
        }
        let ban = pages
            .iter()
            .find(|(name, _)| name == "cerco-ban.8")
            .unwrap();
        let ban = String::from_utf8(ban.1.clone()).unwrap();
        assert!(ban.contains("\\-\\-for"), "{ban}");
        assert!(ban.contains("7days"), "{ban}");
    }

    #[test]
    fn completions_know_the_verbs() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut command(), "cerco", &mut script);
            let script = String::from_utf8(script).unwrap();
            for verb in ["enforce", "explain", "detach"] {
                assert!(script.contains(verb), "{shell}: {verb}");
            }
        }
    }
}
