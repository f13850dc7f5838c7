//! Signatures of reports, as `minisign` itself sees them.

use super::written;
use integration_tests::site::{Site, ended, fed};
use std::{fs, process::Command};

#[test]
fn signature_is_good_for_minisign_itself_and_only_for_this_report() {
    let site = Site::new().unwrap();
    let cerco = site.start().unwrap();
    let [public, secret] = ["key.pub", "key.sec"].map(|name| site.path(name));
    let made = ended(
        Command::new("minisign")
            .args(["-G", "-W", "-p"])
            .arg(&public)
            .arg("-s")
            .arg(&secret),
    );
    assert_eq!(made.code, 0, "{made:?}");
    let secret = secret.to_str().unwrap().to_owned();
    let args = ["--sign", "--secret-key", &secret];
    let (path, text) = written(&site, &cerco, &args, "incident.html");
    let verified = || {
        ended(
            Command::new("minisign")
                .arg("-Vm")
                .arg(&path)
                .arg("-p")
                .arg(&public),
        )
    };
    let good = verified();
    assert_eq!(good.code, 0, "{good:?}");
    assert!(good.stdout.contains("cerco report of "), "{good:?}");
    fs::write(&path, text.replace("Incident", "Accident")).unwrap();
    assert_ne!(verified().code, 0);
    // A new report that is not signed: the old signature stays, and is named.
    let args = ["report", "-o", path.to_str().unwrap()];
    let unsigned = cerco.try_cli(&args);
    assert_eq!(unsigned.code, 0, "{unsigned:?}");
    let words = "incident.html.minisig is of an earlier report and does not fit this one";
    assert!(unsigned.stderr.contains(words), "{unsigned:?}");
    assert!(site.path("incident.html.minisig").exists());
    let again = cerco.try_cli(&[&args[..], &["--sign", "--secret-key", &secret]].concat());
    assert_eq!((again.code, again.stderr.as_str()), (0, ""), "{again:?}");
    // Without the key there is no report that looks as if it were signed.
    let missing = site.path("missing.html");
    let args = [
        "report",
        "-o",
        missing.to_str().unwrap(),
        "--sign",
        "--secret-key",
        "/nowhere",
    ];
    let refused = cerco.try_cli(&args);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(!missing.exists());
}

#[test]
fn key_with_a_password_asks_for_it() {
    let site = Site::new().unwrap();
    let cerco = site.start().unwrap();
    let home = site.path("home");
    fs::create_dir_all(home.join(".minisign")).unwrap();
    let made = fed(
        Command::new("minisign")
            .arg("-G")
            .env("HOME", &home)
            .arg("-p")
            .arg(site.path("key.pub")),
        "a secret\na secret\n",
    );
    assert_eq!(made.code, 0, "{made:?}");
    let path = site.path("incident.html");
    let sign = |password: &str| {
        let args = ["report", "-o", path.to_str().unwrap(), "--sign"];
        fed(cerco.cli_command(&args).env("HOME", &home), password)
    };
    let refused = sign("a guess\n");
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stderr.contains("Wrong password"), "{refused:?}");
    assert!(!path.exists());
    let signed = sign("a secret\n");
    assert_eq!(signed.code, 0, "{signed:?}");
    // What the command says is how to check it.
    let key = signed.stdout.split("-P ").nth(1).unwrap();
    let key = key.split('`').next().unwrap();
    let verified = ended(
        Command::new("minisign")
            .arg("-Vm")
            .arg(&path)
            .args(["-P", key]),
    );
    assert_eq!(verified.code, 0, "{verified:?}");
}
