//! Pictures of the dashboard, of `cerco top` and of a report, taken of a real attack in namespaces: `cargo xtask screenshots`.

use anyhow::{Context, Result, ensure};
use clap::Parser;
use integration_tests::{
    browser::{Browser, Look},
    daemon::{Cerco, cerco_binary},
    poll,
    site::Site,
    storm::Storm,
    terminal::Terminal,
};
use serde_json::json;
use std::{
    fs,
    net::TcpStream,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

/// Frames a second; a veth in native mode takes more, but two cores do all of it here.
const PER_SECOND: f64 = 4_000.0;
/// Then the live chart is full, and the history has some minutes.
const WARM_UP: Duration = Duration::from_secs(310);
const LIMIT: Duration = Duration::from_secs(20);
/// Pictures are in the repository for ever.
const MAX_BYTES: u64 = 200_000;

const CONFIG: &str = "interfaces = [\"eth0\"]\nmode = \"enforce\"\n[policy]\nprivate = \"allow\"\n\
     [policy.countries]\nMO = \"allow\"\nHK = \"allow:residents\"\n[limits.residents]\n\
     packets_per_second = 5\n[dashboard]\nenabled = true\n";

#[derive(Parser)]
#[command(about = "Takes the pictures of the documentation")]
struct Arguments {
    /// Where the pictures go
    #[arg(default_value = "docs/images")]
    folder: PathBuf,
    /// Only let the attack go on so long, and say where it is seen
    #[arg(long, value_parser = humantime::parse_duration)]
    stay: Option<Duration>,
    /// How long the attack goes on before the pictures are taken
    #[arg(long, value_parser = humantime::parse_duration)]
    after: Option<Duration>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let site = Site::new().context("cannot make the namespaces")?;
    let cerco = Cerco::start(&site.host, CONFIG)?;
    let after = arguments.after.unwrap_or(WARM_UP);
    let limit = arguments.stay.unwrap_or(after + 6 * LIMIT);
    let _storm = Storm::begin(&site, PER_SECOND, limit)?;
    if let Some(stay) = arguments.stay {
        eprintln!("nsenter --net={} chromium …", site.host.path());
        thread::sleep(stay);
        return Ok(());
    }
    fs::create_dir_all(&arguments.folder).context("cannot make the folder of the pictures")?;
    let picture = |name: &str| arguments.folder.join(name);
    poll::until("see the dashboard", LIMIT, || {
        let connect = || TcpStream::connect("127.0.0.1:9843");
        site.host.run(connect).ok()?.ok()
    })?;
    let mut browser = Browser::start(&site.host)?;
    let desk = Look {
        height: 1040,
        ..Look::DESK
    };
    browser.open("http://localhost:9843/", desk)?;
    eprintln!("screenshots: the attack goes on for {} s", after.as_secs());
    thread::sleep(after);
    // A browser that has seen it all along; only its size and colours change.
    let drawn = "document.querySelector('#countries [data-class=US]') !== null";
    for (name, dark) in [("dashboard-light.png", false), ("dashboard-dark.png", true)] {
        browser.give("dark", json!({ "dark": dark }))?;
        browser.wait(drawn)?;
        take(&mut browser, &picture(name))?;
    }
    browser.give("dark", json!({ "dark": false }))?;
    browser.give(
        "size",
        json!({"width": Look::PHONE.width, "height": Look::PHONE.height}),
    )?;
    // Two beats, in which the charts take their new size.
    thread::sleep(Duration::from_secs(2));
    take(&mut browser, &picture("dashboard-phone.png"))?;

    let terminal = Terminal::open(&site.host, 80, 24)?;
    let binary = cerco_binary()?;
    terminal.enter(&format!(
        "{} top -c {}",
        binary.display(),
        cerco.config_path().display()
    ))?;
    terminal.wait_for("cerco enforcing on eth0")?;
    thread::sleep(Duration::from_secs(12));
    let path = picture("top.png");
    browser.give(
        "terminal",
        json!({"text": terminal.painted()?, "path": path}),
    )?;
    keep_small(&path)?;

    let report = site.directory().join("incident.html");
    let written = report.to_string_lossy();
    cerco.cli(&["report", "--since", "10m", "-o", &written])?;
    let paper = Look {
        width: 1_000,
        height: 1_400,
        ..Look::DESK
    };
    browser.open(&format!("file://{written}"), paper)?;
    take(&mut browser, &picture("report.png"))
}

fn take(browser: &mut Browser, path: &Path) -> Result<()> {
    browser.screenshot(path, false)?;
    keep_small(path)
}

/// Makes the picture small: 256 colours are nearly all that it has.
fn keep_small(path: &Path) -> Result<()> {
    let mut quantize = Command::new("pngquant");
    quantize.args(["--speed", "1", "--strip", "--force", "--output"]);
    let status = quantize.arg(path).arg("--").arg(path).status();
    let status = status.context("cannot run pngquant; `cargo xtask screenshots` installs it")?;
    ensure!(status.success(), "pngquant ended with {status}");
    let bytes = fs::metadata(path)
        .with_context(|| format!("no picture at {}", path.display()))?
        .len();
    println!("{} ({bytes} bytes)", path.display());
    ensure!(
        bytes < MAX_BYTES,
        "that is too large for the repository: {MAX_BYTES} at most"
    );
    Ok(())
}
