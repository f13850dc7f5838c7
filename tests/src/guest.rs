//! A virtual machine with another kernel: it boots from memory, runs one script and ends.
//!
//! The processor is emulated, since machines of CI often cannot nest virtual ones: a boot takes half a minute.

use crate::{
    daemon::cerco_binary,
    error::{Error, Result, run_to_end},
    process::Process,
};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    env, fs, io,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};
use tempfile::TempDir;

/// Boot and script together; some five times of what they take on an idle machine.
const LIMIT: Duration = Duration::from_secs(600);

/// Each behind those that it needs, by their paths below `kernel/`.
const MODULES: &[&str] = &[
    "drivers/net/veth",
    "net/sched/sch_ingress",
    "net/sched/cls_bpf",
    "net/sched/act_bpf",
    "net/llc/llc",
    "net/802/stp",
    "net/802/mrp",
    "net/802/garp",
    "net/8021q/8021q",
    "net/tls/tls",
    "drivers/net/bonding/bonding",
    "drivers/net/dummy",
];

/// The first process. What is said on the console goes into the messages of failures; the second serial line
/// carries what was recorded, so no word of the kernel gets between.
///
/// `record NAME COMMAND` runs a command and keeps its standard output and its exit status. A script that gives up
/// with `exit 1` has recorded nothing.
const INIT: &str = r#"#!/bin/busybox sh
export PATH=/bin HOME=/root NO_COLOR=1
busybox mkdir -p /dev /proc /sys /tmp /run/netns /etc/cerco /var/lib/cerco
busybox mount -t devtmpfs dev /dev
exec > /dev/console 2>&1 4> /dev/ttyS1
busybox mount -t proc proc /proc
busybox mount -t sysfs sys /sys
busybox mount -t tmpfs tmp /tmp
busybox mount -t tmpfs run /run
busybox mkdir /run/netns
# Those of iproute2 that are there already stay.
busybox --install -s /bin 2> /dev/null
record() {
    name=$1
    shift
    echo "record $name: $*"
    "$@" > /tmp/recorded
    code=$?
    { echo "@@ $name $code"; cat /tmp/recorded; } >&4
}
for module in $(cat /modules); do insmod /lib/$module || echo "no module $module"; done
# In a shell of its own, since the kernel panics when its first process ends.
(. /script; exit 0) && echo "@@ end 0" >&4
echo o > /proc/sysrq-trigger
sleep 10
"#;

/// What a command of the script printed, and how it ended.
#[derive(Debug)]
pub struct Recorded {
    pub code: i32,
    pub stdout: String,
}

/// What the script of a guest recorded.
#[derive(Debug)]
pub struct Recording {
    console: String,
    commands: BTreeMap<String, Recorded>,
}

impl Recording {
    /// # Panics
    /// When the script recorded nothing of that name.
    pub fn of(&self, name: &str) -> &Recorded {
        self.commands
            .get(name)
            .unwrap_or_else(|| panic!("{name} was not recorded: {}", self.console))
    }

    /// The JSON that a command printed.
    ///
    /// # Panics
    /// When it is none.
    pub fn json(&self, name: &str) -> Value {
        let recorded = self.of(name);
        serde_json::from_str(&recorded.stdout)
            .unwrap_or_else(|error| panic!("{name}: {error}: {recorded:?}: {}", self.console))
    }

    /// All that kernel and commands said on the console.
    pub fn console(&self) -> &str {
        &self.console
    }
}

/// Boots Linux 6.1 with `cerco`, iproute2 and busybox, runs `script` in its shell, and reads what that recorded.
pub fn run_on_linux_6_1(script: &str) -> Result<Recording> {
    let directory = TempDir::with_prefix("cerco-guest-")
        .map_err(|source| Error::os("make a temporary directory", source))?;
    let kernel = tools("linux-6.1")?;
    let archive = initramfs(directory.path(), &kernel, script)?;
    let image = only_entry(&kernel.join("boot"), "vmlinuz-6.1.")?;
    let recorded = directory.path().join("recorded");
    let mut machine = Process::spawn(
        Command::new(program("qemu-system-x86_64")?)
            .args(["-accel", "tcg", "-cpu", "max", "-smp", "2", "-m", "1024"])
            .args(["-nodefaults", "-display", "none", "-no-reboot"])
            .args(["-serial", "stdio", "-serial"])
            .arg(format!("file:{}", recorded.display()))
            .arg("-kernel")
            .arg(image)
            .arg("-initrd")
            .arg(archive)
            .args(["-append", "console=ttyS0 quiet panic=-1"]),
    )?;
    machine.wait(LIMIT)?;
    let text = read(&recorded)?;
    let console = machine.output().replace('\r', "");
    parse(&text, console)
}

fn parse(text: &str, console: String) -> Result<Recording> {
    let mut commands = BTreeMap::new();
    for part in text.replace('\r', "").split("@@ ").skip(1) {
        let (head, stdout) = part.split_once('\n').unwrap_or((part, ""));
        let (name, code) = head.split_once(' ').unwrap_or((head, ""));
        let recorded = Recorded {
            code: code.parse().unwrap_or(-1),
            stdout: stdout.to_owned(),
        };
        commands.insert(name.to_owned(), recorded);
    }
    if !commands.contains_key("end") {
        return Err(Error::Command {
            op: "run a script to its end".into(),
            command: "the virtual machine".into(),
            status: "too early".into(),
            output: format!("{console}\nrecorded: {text}"),
        });
    }
    Ok(Recording { console, commands })
}

/// Packs the root of the machine, which consists of links to files of this host, into an archive.
fn initramfs(directory: &Path, kernel: &Path, script: &str) -> Result<PathBuf> {
    let root = directory.join("root");
    let busybox =
        ["bin/busybox", "usr/bin/busybox"].map(|path| tools("busybox").map(|it| it.join(path)));
    let busybox = busybox
        .into_iter()
        .collect::<Result<Vec<_>>>()?
        .into_iter()
        .find(|path| path.is_file())
        .ok_or_else(|| missing("busybox"))?;
    link(&root, "bin/busybox", &busybox)?;
    let programs = [
        ("bin/cerco", cerco_binary()?),
        ("bin/ip", program("ip")?),
        ("bin/tc", program("tc")?),
    ];
    for (path, file) in programs {
        link(&root, path, &file)?;
        for library in libraries(&file)? {
            link(&root, library.trim_start_matches('/'), Path::new(&library))?;
        }
    }
    let modules = only_entry(&kernel.join("lib/modules"), "6.1.")?.join("kernel");
    let mut names = String::new();
    for module in MODULES {
        let file = modules.join(format!("{module}.ko"));
        let name = module.rsplit('/').next().unwrap_or(module);
        link(&root, &format!("lib/{name}.ko"), &file)?;
        names.push_str(&format!("{name}.ko\n"));
    }
    write(&root.join("modules"), &names)?;
    write(&root.join("script"), script)?;
    write(&root.join("init"), INIT)?;
    fs::set_permissions(root.join("init"), fs::Permissions::from_mode(0o755))
        .map_err(|source| Error::os("make init a program", source))?;
    let mut pack = Command::new(&busybox);
    pack.args(["sh", "-c", "find . | cpio -o -L -H newc > ../initramfs"])
        .current_dir(&root);
    run_to_end(&mut pack, "pack the files of the virtual machine")?;
    Ok(directory.join("initramfs"))
}

/// A folder that `cargo xtask setup` unpacks below the target directory.
fn tools(name: &str) -> Result<PathBuf> {
    let own = env::current_exe().unwrap_or_default();
    own.ancestors()
        .map(|it| it.join("tools").join(name))
        .find(|it| it.is_dir())
        .ok_or_else(|| missing(name))
}

/// A program in `PATH`, or where Debian keeps root's tools.
fn program(name: &str) -> Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
        .ok_or_else(|| missing(name))
}

fn missing(name: &str) -> Error {
    Error::os(
        format!("find {name} (`cargo xtask setup` brings it, or says why it cannot)"),
        io::ErrorKind::NotFound.into(),
    )
}

/// The libraries that the loader puts behind a program, and the loader itself.
fn libraries(program: &Path) -> Result<Vec<String>> {
    let listing = run_to_end(Command::new("ldd").arg(program), "list libraries")?;
    let words = listing.split_whitespace();
    Ok(words
        .filter(|word| word.starts_with('/'))
        .map(str::to_owned)
        .collect())
}

fn only_entry(directory: &Path, prefix: &str) -> Result<PathBuf> {
    let listed = fs::read_dir(directory)
        .map_err(|source| Error::os(format!("list {}", directory.display()), source))?;
    listed
        .flatten()
        .find(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
        .map(|entry| entry.path())
        .ok_or_else(|| missing(&format!("{prefix}* in {}", directory.display())))
}

fn link(root: &Path, path: &str, file: &Path) -> Result<()> {
    let place = root.join(path);
    let op = |source| {
        Error::os(
            format!("link {} to {}", place.display(), file.display()),
            source,
        )
    };
    if place.exists() {
        return Ok(());
    }
    if !file.is_file() {
        return Err(missing(&file.display().to_string()));
    }
    fs::create_dir_all(place.parent().unwrap_or(root)).map_err(op)?;
    symlink(file, &place).map_err(op)
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).map_err(|source| Error::os(format!("write {}", path.display()), source))
}

fn read(path: &Path) -> Result<String> {
    let bytes =
        fs::read(path).map_err(|source| Error::os(format!("read {}", path.display()), source))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
