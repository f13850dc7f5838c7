//! The cerco daemon as a guard: one temporary directory, one directory of pins, one process.

use crate::{
    error::{Error, Result, check, run_to_end},
    netns::NetNs,
    poll,
    process::Process,
};
use std::{
    env, fs,
    os::{
        fd::AsRawFd,
        unix::{net::UnixDatagram, process::ExitStatusExt},
    },
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};
use tempfile::TempDir;

/// Enough for compiling the world's tables on a slow, busy machine in a debug build.
const READY_LIMIT: Duration = Duration::from_secs(60);
/// Until a line that the daemon has written is read here.
const LOGGED: Duration = Duration::from_secs(5);

/// Names the step at which a daemon of a debug build dies, see `filter_userspace::faults`.
pub const DIE_AT: &str = "CERCO_DIE_AT";

const BPFFS: &str = "/sys/fs/bpf";

/// Where the binary is: `CERCO_BIN`, or beside the running test or demo.
pub fn cerco_binary() -> Result<PathBuf> {
    find_binary(
        "CERCO_BIN",
        "cerco",
        "find the cerco binary (set CERCO_BIN, or build it: cargo build --bin cerco)",
    )
}

/// A cerco whose maps look otherwise: `CERCO_OTHER_ABI_BIN`, or beside the running test.
pub fn other_abi_binary() -> Result<PathBuf> {
    find_binary(
        "CERCO_OTHER_ABI_BIN",
        "cerco-other-abi",
        "find the binary of another ABI (set CERCO_OTHER_ABI_BIN, or build it: \
         cargo build -p filter-userspace --features other-abi --bin cerco-other-abi)",
    )
}

fn find_binary(variable: &str, name: &str, op: &'static str) -> Result<PathBuf> {
    if let Some(path) = env::var_os(variable) {
        return Ok(path.into());
    }
    let own = env::current_exe().map_err(|source| Error::os(op, source))?;
    own.ancestors()
        .skip(1)
        // Tests stand in `deps/` below the directory of the binaries.
        .take(2)
        .map(|directory| directory.join(name))
        .find(|path| path.is_file())
        .ok_or_else(|| Error::os(op, std::io::Error::from_raw_os_error(libc::ENOENT)))
}

/// A running `cerco run`. Dropping it stops the daemon and takes the gate out of the kernel.
#[derive(Debug)]
pub struct Cerco {
    netns: NetNs,
    binary: PathBuf,
    directory: TempDir,
    pins: PathBuf,
    process: Option<Process>,
    /// Where the process says that it is ready.
    notify: Option<UnixDatagram>,
    wrapper: Vec<String>,
}

impl Cerco {
    /// Starts a daemon inside `netns` and waits until it is ready, which means that the gate is
    /// up.
    ///
    /// `config`: the TOML text of a configuration without `[paths]` and `[metrics]`, which this
    /// adds so that many daemons can run side by side.
    pub fn start(netns: &NetNs, config: &str) -> Result<Self> {
        Self::start_under(netns, config, &[])
    }

    /// As [`Cerco::start`], with the daemon run by the command `wrapper`, as in `setpriv …`.
    pub fn start_under(netns: &NetNs, config: &str, wrapper: &[&str]) -> Result<Self> {
        let mut cerco = Self::prepare(netns, config)?;
        cerco.wrapper = wrapper.iter().map(|&word| word.to_owned()).collect();
        cerco.run()?;
        Ok(cerco)
    }

    /// All that [`Cerco::run`] needs; nothing runs yet.
    pub fn prepare(netns: &NetNs, config: &str) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let binary = cerco_binary()?;
        ensure_bpffs()?;
        let directory = TempDir::with_prefix("cerco-")
            .map_err(|source| Error::os("make a temporary directory", source))?;
        let pins = Path::new(BPFFS).join(format!(
            "cerco-test-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        ));
        let cerco = Self {
            netns: netns.clone(),
            binary,
            directory,
            pins,
            process: None,
            notify: None,
            wrapper: Vec::new(),
        };
        cerco.write_config(config)?;
        Ok(cerco)
    }

    /// Writes the configuration anew; the daemon reads it at `reload` or at its next start.
    pub fn write_config(&self, config: &str) -> Result<()> {
        let directory = self.directory.path();
        let text = format!(
            "{config}\n[paths]\nsocket = \"{}\"\nstate = \"{}\"\npins = \"{}\"\n\n[metrics]\nlisten = \"{}\"\n",
            directory.join("cerco.sock").display(),
            directory.join("state").display(),
            self.pins.display(),
            Self::METRICS,
        );
        let path = self.config_path();
        fs::write(&path, text)
            .map_err(|source| Error::os(format!("write {}", path.display()), source))
    }

    /// Where the daemon's metrics are, inside its namespace, where no other daemon can be.
    pub const METRICS: &'static str = "127.0.0.1:9477";

    /// Starts the process, again if [`Cerco::kill`] ended it, and waits for READY=1.
    pub fn run(&mut self) -> Result<()> {
        self.spawn(&[])?;
        match self.wait_until_ready()? {
            None => Ok(()),
            Some(status) => Err(self.ended("start the gate", status)),
        }
    }

    /// Starts the process without waiting for anything, in an environment with these variables as well.
    pub fn spawn(&mut self, variables: &[(&str, &str)]) -> Result<()> {
        let notify_path = self.directory.path().join("notify.sock");
        // A socket of the daemon's last run may still stand there.
        let _ = fs::remove_file(&notify_path);
        let notify = UnixDatagram::bind(&notify_path)
            .and_then(|socket| socket.set_nonblocking(true).map(|()| socket))
            .map_err(|source| Error::os(format!("bind {}", notify_path.display()), source))?;
        let mut command = match self.wrapper.split_first() {
            None => self.netns.command(&self.binary),
            Some((wrapper, args)) => {
                let mut command = self.netns.command(wrapper);
                command.args(args).arg(&self.binary);
                command
            }
        };
        command
            .args(["run", "-c"])
            .arg(self.config_path())
            .env("NOTIFY_SOCKET", &notify_path)
            .env("NO_COLOR", "1")
            .envs(variables.iter().copied());
        self.process = Some(Process::spawn(&mut command)?);
        self.notify = Some(notify);
        Ok(())
    }

    /// Waits for READY=1, or for the end of the process, which is returned.
    fn wait_until_ready(&mut self) -> Result<Option<ExitStatus>> {
        let (Some(process), Some(notify)) = (&mut self.process, &self.notify) else {
            return Err(no_process());
        };
        let mut ended = None;
        let ready = poll::until("see READY=1", READY_LIMIT, || {
            ended = process.exited();
            (ended.is_some() || says_ready(notify)).then_some(())
        });
        match (ready, ended) {
            (Ok(()), None) => Ok(None),
            (_, Some(_)) => process.wait(READY_LIMIT).map(Some),
            (Err(_), None) => Err(Error::Deadline {
                op: format!("see READY=1 of {}", process.line()),
                waited: READY_LIMIT,
                output: process.output(),
            }),
        }
    }

    /// Starts a daemon that is told to die at `step` (`filter_userspace::faults`). False: it stands and answers,
    /// since it has not come by there.
    pub fn dies_at(&mut self, step: &str) -> Result<bool> {
        self.spawn(&[(DIE_AT, step)])?;
        let mut status = self.wait_until_ready()?;
        // The last steps come after READY=1 and before the first answer.
        if status.is_none() && self.try_cli(&["status"]).code != 0 {
            status = Some(self.wait_for_end()?);
        }
        self.killed_by_itself(status)
    }

    /// As [`Cerco::dies_at`], for a daemon that runs already: it dies of `args`, or does not.
    pub fn dies_of(&mut self, args: &[&str]) -> Result<bool> {
        let status = match self.try_cli(args).code {
            0 => None,
            _ => Some(self.wait_for_end()?),
        };
        self.killed_by_itself(status)
    }

    fn killed_by_itself(&mut self, status: Option<ExitStatus>) -> Result<bool> {
        match status {
            None => Ok(false),
            Some(status) if status.signal() == Some(libc::SIGKILL) => {
                self.process = None;
                Ok(true)
            }
            Some(status) => Err(self.ended("let the daemon die", status)),
        }
    }

    fn wait_for_end(&mut self) -> Result<ExitStatus> {
        self.process
            .as_mut()
            .ok_or_else(no_process)?
            .wait(READY_LIMIT)
    }

    fn ended(&self, op: &str, status: ExitStatus) -> Error {
        let process = self.process.as_ref();
        Error::Command {
            op: op.into(),
            command: process.map_or_else(String::new, |it| it.line().to_owned()),
            status: status.to_string(),
            output: self.log(),
        }
    }

    /// The next [`Cerco::run`] starts this binary, as after an upgrade.
    pub fn upgrade(&mut self, binary: &Path) {
        self.binary = binary.to_path_buf();
    }

    /// SIGKILL: the daemon is gone, what it pinned stays.
    pub fn kill(&mut self) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            process.signal(libc::SIGKILL)?;
            process.wait(Duration::from_secs(5))?;
        }
        Ok(())
    }

    /// SIGTERM, as the service manager stops it; its whole log.
    pub fn stop(&mut self) -> Result<String> {
        let Some(mut process) = self.process.take() else {
            return Ok(String::new());
        };
        let status = process.stop()?;
        if !status.success() {
            return Err(Error::Command {
                op: "stop the daemon".into(),
                command: process.line().to_owned(),
                status: status.to_string(),
                output: process.output(),
            });
        }
        Ok(process.output())
    }

    /// Sends `signal` to the daemon.
    pub fn signal(&mut self, signal: libc::c_int) -> Result<()> {
        self.process
            .as_mut()
            .map_or(Ok(()), |process| process.signal(signal))
    }

    /// Runs `cerco ARGS -c CONFIG` in the daemon's namespace; its standard output.
    pub fn cli(&self, args: &[&str]) -> Result<String> {
        run_to_end(&mut self.cli_command(args), "steer the gate")
    }

    /// The command of [`Cerco::cli`], for tests that want its exit status or error text.
    pub fn cli_command(&self, args: &[&str]) -> Command {
        let mut command = self.netns.command(&self.binary);
        command
            .args(args)
            .arg("-c")
            .arg(self.config_path())
            .env("NO_COLOR", "1");
        command
    }

    pub fn config_path(&self) -> PathBuf {
        self.directory.path().join("cerco.toml")
    }

    /// The directory of `runtime.json` and the lock.
    pub fn state(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    /// The control socket.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("cerco.sock")
    }

    /// The directory of this daemon's pins, on bpffs.
    pub fn pins(&self) -> &Path {
        &self.pins
    }

    /// The daemon's process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    /// What the daemon has printed since its last start.
    pub fn log(&self) -> String {
        self.process
            .as_ref()
            .map_or_else(String::new, Process::output)
    }

    /// Waits until the daemon's log holds `words`: a thread of its own reads it.
    pub fn assert_logs(&self, words: &str) {
        let logged = || self.log().contains(words).then_some(());
        poll::until("read it in the log", LOGGED, logged)
            .unwrap_or_else(|error| panic!("{error}: {words:?} is not in {}", self.log()));
    }
}

impl Drop for Cerco {
    fn drop(&mut self) {
        // A panic may be under way, so every step is tried and no error is raised.
        drop(self.process.take());
        if self.pins.exists() {
            let _ = self.cli(&["detach", "--force"]);
            let _ = fs::remove_dir_all(&self.pins);
        }
    }
}

fn no_process() -> Error {
    let nobody = std::io::Error::from_raw_os_error(libc::ESRCH);
    Error::os("wait for the daemon", nobody)
}

fn says_ready(notify: &UnixDatagram) -> bool {
    let mut message = [0; 4096];
    while let Ok(len) = notify.recv(&mut message) {
        if message[..len]
            .split(|byte| *byte == b'\n')
            .any(|line| line == b"READY=1")
        {
            return true;
        }
    }
    false
}

/// Mounts the BPF file system where it is missing, as in minimal images.
pub fn ensure_bpffs() -> Result<()> {
    const BPF_FS_MAGIC: libc::c_long = 0xcafe_4a11;
    let op = || format!("look at {BPFFS}");
    let directory = fs::File::open(BPFFS).map_err(|source| Error::os(op(), source))?;
    // SAFETY: an all-zero statfs is valid, all its fields are integers.
    let mut status: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: the descriptor is open and the pointer is to `status`.
    check(
        unsafe { libc::fstatfs(directory.as_raw_fd(), &raw mut status) },
        op,
    )?;
    if status.f_type == BPF_FS_MAGIC {
        return Ok(());
    }
    run_to_end(
        Command::new("mount").args(["-t", "bpf", "bpf", BPFFS]),
        "mount the BPF file system",
    )?;
    Ok(())
}
