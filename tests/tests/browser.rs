//! The dashboard in a headless Chromium, while the gate is attacked.

use integration_tests::{
    browser::{Browser, Look},
    daemon::Cerco,
    http, poll,
    siege::{Asking, Siege},
    site::{ABROAD, Site},
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt as _, time::Duration};

const LIMIT: Duration = Duration::from_secs(40);
const URL: &str = "http://localhost:9843/";
const ON: &str = "[dashboard]\nenabled = true\n";

/// Packets by what they are counted under: `drop`, `country_denied drop`, `US drop`.
type Counts = BTreeMap<String, u64>;

fn add(counts: &mut Counts, key: String, packets: u64) {
    if packets > 0 {
        *counts.entry(key).or_default() += packets;
    }
}

/// As `/metrics` tells them.
fn scraped(site: &Site) -> Counts {
    let answer = http::ask(&site.host, Cerco::METRICS, "GET /metrics HTTP/1.1", "").unwrap();
    let mut counts = Counts::new();
    for line in answer.body.lines() {
        let label = |name: &str| {
            let rest = line.split_once(&format!("{name}=\""))?.1;
            Some(rest.split_once('"')?.0)
        };
        let packets = || line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap() as u64;
        let verdict = label("verdict").unwrap_or_default();
        if line.starts_with("cerco_packets_total{") {
            add(&mut counts, verdict.to_owned(), packets());
            let reason = label("reason").unwrap();
            add(&mut counts, format!("{reason} {verdict}"), packets());
        } else if line.starts_with("cerco_country_packets_total{") {
            let country = label("country").unwrap();
            add(&mut counts, format!("{country} {verdict}"), packets());
        }
    }
    counts
}

/// As the page shows them, read from what stands there.
fn shown(browser: &mut Browser) -> Counts {
    let read = "(() => {
        const number = (text) => text.includes('–') ? null : Number(text.replaceAll(',', ''));
        const counts = {};
        for (const verdict of ['pass', 'drop', 'would_drop'])
            counts[verdict] = number(document.getElementById(`total-${verdict}`).textContent);
        for (const row of document.querySelectorAll('#reasons tr[data-reason]'))
            counts[`${row.dataset.reason} ${row.dataset.verdict}`] =
                number(row.querySelector('[data-key=packets]').textContent);
        for (const row of document.querySelectorAll('#countries tr[data-class]'))
            if (row.dataset.class.length === 2)
                for (const cell of row.querySelectorAll('[data-key]'))
                    counts[`${row.dataset.class} ${cell.dataset.key}`] = number(cell.textContent);
        return counts;
    })()";
    let value = browser.eval(read).unwrap();
    let mut counts = Counts::new();
    for (key, packets) in value.as_object().unwrap() {
        add(&mut counts, key.clone(), packets.as_u64().unwrap());
    }
    counts
}

/// Waits until the page shows what the metrics say; kernels send frames of their own meanwhile.
#[track_caller]
fn wait_until_equal(site: &Site, browser: &mut Browser) -> Counts {
    let mut last = (Counts::new(), Counts::new());
    let equal = poll::until("see the page equal the metrics", LIMIT, || {
        last = (shown(browser), scraped(site));
        (last.0 == last.1).then(|| last.0.clone())
    });
    equal.unwrap_or_else(|error| panic!("{error}: {last:#?}"))
}

#[track_caller]
fn assert_no_faults(browser: &mut Browser) {
    assert_eq!(browser.faults().unwrap(), json!([]));
}

#[track_caller]
fn assert_accessible(browser: &mut Browser, what: &str) {
    let found = browser.axe().unwrap();
    assert_eq!(found, json!([]), "{what}: {found:#}");
}

fn start(site: &Site, config: &str) -> Cerco {
    let cerco = Cerco::start(&site.host, config).unwrap();
    poll::until("see the dashboard", LIMIT, || {
        let connect = || std::net::TcpStream::connect("127.0.0.1:9843");
        site.host.run(connect).unwrap().ok()
    })
    .unwrap();
    cerco
}

/// Names the controls that are to be reached, each once, in the page.
const NAME_CONTROLS: &str = "(() => {
    const all = [...document.querySelectorAll('a[href], button, input, [tabindex=\"0\"]')]
        .filter((it) => it.checkVisibility() && !it.disabled);
    all.forEach((it, index) => { it.dataset.control = `${index}`; });
    return all.length;
})()";

#[test]
fn page_shows_what_the_metrics_say_after_an_attack() {
    let site = Site::new().unwrap();
    let mut cerco = start(&site, &site.config_with("", ON));
    cerco.cli(&["ban", "198.51.100.99", "--for", "1h"]).unwrap();
    let mut browser = Browser::start(&site.host).unwrap();
    assert_eq!(browser.open(URL, Look::DESK).unwrap(), 200);
    browser
        .wait("document.getElementById('mode')?.textContent === 'Enforcing'")
        .unwrap();

    let siege = Siege::begin(&site, Asking::Nothing).unwrap();
    let number = "Number(document.getElementById('ID').textContent.replaceAll(',', ''))";
    let of = |id: &str| number.replace("ID", id);
    // While it goes on: rates, the map, sources, and events as they come.
    browser
        .wait(&format!("{} > 20000", of("total-drop")))
        .unwrap();
    browser.wait(&format!("{} > 100", of("rate-drop"))).unwrap();
    browser
        .wait("Number(document.querySelector('[data-country=US]').dataset.level) > 3")
        .unwrap();
    browser
        .wait("document.querySelectorAll('#events tbody tr').length > 20")
        .unwrap();
    // "Last minute" is reckoned by the page: something of it, and no more than all.
    browser.click(".world .choice button:nth-child(1)").unwrap();
    let of_us = "Number(document.querySelector('#countries [data-class=US] [data-key=drop]')\
        ?.textContent.replaceAll(',', ''))";
    browser
        .wait(&format!(
            "document.querySelector('.world .choice button').ariaPressed === 'true' \
             && {of_us} > 1000 && {of_us} <= {}",
            of("total-drop")
        ))
        .unwrap();
    browser.click(".world .choice button:nth-child(2)").unwrap();
    let pause = siege.pause();
    let toll = pause.toll;
    let counts = wait_until_equal(&site, &mut browser);
    assert_eq!(counts["US drop"], toll.denied_sent);
    assert_eq!(counts["country_denied drop"], toll.denied_sent);
    assert!(counts["banned drop"] > 1000, "{counts:?}");
    assert!(counts["MO pass"] > 1000, "{counts:?}");

    // The history of the hour tells the same, and of the sample what the history says of it.
    poll::until("see it in the history", LIMIT, || {
        let told = browser.eval(&of("history-drop")).unwrap();
        (told.as_u64() == scraped(&site).get("drop").copied()).then_some(())
    })
    .unwrap();
    let bounds = "[...document.querySelectorAll('#sources tr[data-source]')].map((row) => [row.dataset.source, \
        ...[...row.querySelectorAll('.number')].map((it) => Number(it.textContent.replaceAll(',', '')))])";
    let is_abroad = |it: &&Value| {
        let source = it["source"].as_str().unwrap();
        [ABROAD[0], "2001:db8:2::/64"].contains(&source)
    };
    poll::until("see the sample as the history tells it", LIMIT, || {
        let history = cerco.json(&["history", "--since", "1h"]);
        let sources = history["sampled"]["sources"].as_array().unwrap();
        assert_eq!(sources.iter().filter(is_abroad).count(), 2, "{history}");
        let told: Vec<Value> = sources
            .iter()
            .map(|it| json!([it["source"], it["at_least"], it["at_most"]]))
            .collect();
        (browser.eval(bounds).unwrap() == json!(told)).then_some(())
    })
    .unwrap();
    browser.click(".world .choice button:nth-child(3)").unwrap();
    browser
        .wait(&format!(
            "document.querySelector('#countries [data-class=US] [data-key=drop]').textContent.replaceAll(',', '') === '{}'",
            toll.denied_sent
        ))
        .unwrap();
    browser.click(".world .choice button:nth-child(2)").unwrap();

    // Drawing over the history looks closer, and a button leads back.
    let title = "document.getElementById('history-title').textContent.includes('to now')";
    assert_eq!(browser.eval(title).unwrap(), true);
    let drag =
        json!({"selector": "[aria-labelledby=history-title] .u-over", "from": 0.5, "to": 0.95});
    browser.give("drag", drag).unwrap();
    browser.wait(&format!("!{title}")).unwrap();
    browser
        .click("[aria-label='Range of the history'] button")
        .unwrap();
    browser.wait(title).unwrap();
    // A country that is chosen has a history of its own.
    browser.click("#countries [data-class=US] button").unwrap();
    browser
        .wait("document.getElementById('history-title').textContent.includes('United States')")
        .unwrap();
    browser
        .wait(&format!("{} === {}", of("history-drop"), toll.denied_sent))
        .unwrap();
    browser.click("#countries [data-class=US] button").unwrap();

    // Paused events stand still while more come.
    browser.click("#pause").unwrap();
    browser
        .wait("document.getElementById('pause').getAttribute('aria-pressed') === 'true'")
        .unwrap();
    let newest = "document.querySelector('#events tbody tr').textContent";
    let before = browser.eval(newest).unwrap();
    drop(pause);
    browser
        .wait(&format!("{} > {}", of("total-drop"), counts["drop"] + 3000))
        .unwrap();
    assert_eq!(browser.eval(newest).unwrap(), before);
    browser.click("#pause").unwrap();
    browser.wait(&format!("{newest} !== {before}")).unwrap();
    drop(siege);
    assert_no_faults(&mut browser);

    // The daemon goes: the page says so, and goes on when it is back.
    cerco.kill().unwrap();
    browser
        .wait("document.getElementById('lost') !== null")
        .unwrap();
    browser.faults().unwrap();
    cerco.run().unwrap();
    browser
        .wait("document.getElementById('lost') === null")
        .unwrap();
    wait_until_equal(&site, &mut browser);
    // The new daemon has kept no events; those that come now are there.
    site.send(ABROAD[0], 5).unwrap();
    browser
        .wait("document.querySelectorAll('#events tbody tr').length === 5")
        .unwrap();
    let left = browser.faults().unwrap();
    let odd: Vec<&Value> = left
        .as_array()
        .unwrap()
        .iter()
        .filter(|it| !it.as_str().unwrap().contains("ERR_"))
        .collect();
    assert_eq!(
        odd,
        Vec::<&Value>::new(),
        "only what was asked meanwhile failed"
    );
}

#[test]
fn page_can_be_used_with_keys_with_a_reader_and_on_a_phone() {
    let site = Site::new().unwrap();
    let observing = site.config_with("mode = \"observe\"\n", ON);
    let cerco = start(&site, &observing);
    site.send(ABROAD[0], 40).unwrap();
    let mut browser = Browser::start(&site.host).unwrap();
    browser.open(URL, Look::DESK).unwrap();
    let ready = "document.querySelector('#countries [data-class=US]') !== null \
        && document.querySelector('#sources [data-source]') !== null \
        && document.querySelectorAll('#events tbody tr').length === 40 \
        && document.querySelector('.map path') !== null";
    browser.wait(ready).unwrap();
    let would = "document.getElementById('total-would_drop').textContent";
    assert_eq!(browser.eval(would).unwrap(), "40");
    assert_eq!(
        browser
            .eval("document.getElementById('mode').textContent")
            .unwrap(),
        "Observing"
    );
    cerco.cli(&["allow", "US", "--confirm", "1h"]).unwrap();
    browser
        .wait("document.querySelector('.badge.trial') !== null")
        .unwrap();
    assert_accessible(&mut browser, "light");
    browser.give("dark", json!({"dark": true})).unwrap();
    assert_accessible(&mut browser, "dark");
    // The colours can be chosen as well.
    browser
        .click("[aria-label=Colours] button:nth-child(2)")
        .unwrap();
    let scheme = "getComputedStyle(document.documentElement).colorScheme";
    assert_eq!(browser.eval(scheme).unwrap(), "light");
    browser
        .click("[aria-label=Colours] button:nth-child(1)")
        .unwrap();
    assert_eq!(browser.eval(scheme).unwrap(), "light dark");

    // Open what can be opened, so that its controls are there, too.
    browser.click("button[aria-expanded]").unwrap();
    browser.eval("document.querySelectorAll('.head > button[aria-pressed]:not(#pause)').forEach((it) => it.click())").unwrap();
    browser
        .wait("document.querySelectorAll('main .plot').length === 0")
        .unwrap();
    assert_accessible(&mut browser, "tables in place of charts");
    let controls = browser.eval(NAME_CONTROLS).unwrap().as_u64().unwrap();
    assert!(controls > 40, "{controls}");
    browser.eval("document.activeElement.blur()").unwrap();
    let mut reached = BTreeMap::new();
    for _ in 0..controls + 30 {
        browser.press("Tab").unwrap();
        let at = "(() => { const it = document.activeElement; \
            return [it.dataset.control ?? null, getComputedStyle(it).outlineStyle]; })()";
        let at = browser.eval(at).unwrap();
        if let Some(control) = at[0].as_str() {
            reached.insert(control.to_owned(), at[1].as_str().unwrap().to_owned());
        }
    }
    assert_eq!(reached.len() as u64, controls, "{reached:?}");
    let unseen: Vec<_> = reached
        .iter()
        .filter(|(_, outline)| *outline == "none")
        .collect();
    assert!(unseen.is_empty(), "without a visible focus: {unseen:?}");
    // The row in focus is the country on the map.
    browser
        .eval("document.querySelector('#countries [data-class=US] button').focus()")
        .unwrap();
    browser
        .wait("document.querySelector('[data-country=US]').classList.contains('high')")
        .unwrap();
    // Sorting by key.
    browser
        .eval("document.querySelector('#countries .sort').focus()")
        .unwrap();
    browser.press("Enter").unwrap();
    browser
        .wait("document.querySelector('#countries th').ariaSort === 'ascending'")
        .unwrap();
    assert_no_faults(&mut browser);

    for dark in [false, true] {
        browser
            .open(
                URL,
                Look {
                    dark,
                    ..Look::PHONE
                },
            )
            .unwrap();
        browser.wait(ready).unwrap();
        assert_accessible(&mut browser, "phone");
        let width = browser
            .eval("document.documentElement.scrollWidth")
            .unwrap();
        assert_eq!(width, 390, "nothing is wider than the screen");
    }
    assert_no_faults(&mut browser);
}

#[test]
fn signing_in_over_tls_works_in_a_browser() {
    let site = Site::new().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let secret = |name: &str, text: &str| {
        let path = site.write(name, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path.display().to_string()
    };
    let token = "fedcba9876543210fedcba9876543210";
    let config = format!(
        "{ON}tls_certificate = \"{}\"\ntls_key = \"{}\"\ntoken_file = \"{}\"\n",
        secret("cert.pem", &made.cert.pem()),
        secret("key.pem", &made.signing_key.serialize_pem()),
        secret("token", token),
    );
    let _cerco = start(&site, &site.config_with("", &config));
    let mut browser = Browser::start(&site.host).unwrap();
    browser.open("https://localhost:9843/", Look::DESK).unwrap();
    assert_eq!(browser.eval("location.pathname").unwrap(), "/login");
    assert_accessible(&mut browser, "signing in");
    let enter = |browser: &mut Browser, text: &str| {
        browser.click("#token").unwrap();
        browser.give("type", json!({ "text": text })).unwrap();
        browser.press("Enter").unwrap();
    };
    enter(&mut browser, "not the token");
    browser
        .wait("document.querySelector('[role=alert]') !== null")
        .unwrap();
    enter(&mut browser, token);
    browser
        .wait("document.getElementById('mode') !== null")
        .unwrap();
    assert_eq!(
        browser.eval("document.cookie").unwrap(),
        "",
        "no script reads the session"
    );
    browser
        .eval("document.querySelector('header > button').click()")
        .unwrap();
    browser.wait("location.pathname === '/login'").unwrap();
    assert_no_faults(&mut browser);
}
