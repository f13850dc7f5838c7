//! `cerco geo status`: the database in force, what was refused, and what is kept.

use super::{
    super::{
        output::{Output, Paint},
        table::{self, cut, grouped, wrapped},
    },
    Context, Failure, in_force, load_config,
};
use crate::{
    control::reply::{GenerationLine, GeoStatus},
    daemon::{
        age,
        databases::{about_status, generation_lines},
    },
    generations::Store,
};

pub fn run(context: &Context) -> Result<(), Failure> {
    context.output.show(&about(context)?, render)
}

/// The database in force; without a daemon the one that was in force last.
pub fn about(context: &Context) -> Result<GeoStatus, Failure> {
    match in_force::ask(context)? {
        Some(status) => Ok(status),
        None => from_disk(context),
    }
}

/// What was in force last; before the first start, what the config names.
fn from_disk(context: &Context) -> Result<GeoStatus, Failure> {
    let store = Store::at(&context.paths().state);
    let current = store.current();
    let kept = current.in_force.and_then(|number| store.read(number).ok());
    let database = match kept {
        Some((database, _)) => database,
        None => load_config(context)?
            .read_database()
            .map_err(|error| Failure::bad_usage(error.to_string()))?,
    };
    Ok(GeoStatus {
        generation: current.in_force,
        held_since: current.held_since,
        generations: generation_lines(store.list(), current.in_force),
        ..about_status(&database)
    })
}

fn render(status: &GeoStatus, output: &Output) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        text += &format!("{name:<12} {}\n", wrapped(value, 80, 13));
    };
    if !status.daemon {
        line(
            "daemon",
            "none answers; this was in force last, or is what the config names",
        );
    }
    line("source", &status.source);
    line("format", &status.format);
    let unknown_age = "unknown: the file does not say";
    line("age", status.age.as_deref().unwrap_or(unknown_age));
    line(
        "networks",
        &format!(
            "{} IPv4, {} IPv6",
            grouped(status.networks_v4),
            grouped(status.networks_v6)
        ),
    );
    line(
        "space",
        &format!(
            "{} IPv4 addresses, {} IPv6 networks of /48",
            grouped(status.addresses_v4),
            grouped(status.sites_v6)
        ),
    );
    line("sha256", &status.sha256.to_string());
    line(
        "attribution",
        status.attribution.as_deref().unwrap_or("none given"),
    );
    if let Some(since) = status.held_since {
        let since = humantime::format_rfc3339_seconds(since);
        line(
            &output.paint(Paint::Caution, "held"),
            &format!("since {since}, by a rollback; `cerco geo accept` ends that"),
        );
    }
    if let Some(refused) = &status.refused {
        let at = refused.at.map_or_else(String::new, |at| {
            format!(" at {}", humantime::format_rfc3339_seconds(at))
        });
        line(
            &output.paint(Paint::Bad, "refused"),
            &format!(
                "{}{at} ({}): {}",
                refused.source, refused.reason, refused.message
            ),
        );
    }
    if let Some(failed) = &status.update_failed {
        let at = failed.at.map_or_else(String::new, |at| {
            format!(" at {}", humantime::format_rfc3339_seconds(at))
        });
        line(
            &output.paint(Paint::Bad, "update"),
            &format!(
                "of {} failed{at} ({}): {}",
                failed.source, failed.reason, failed.message
            ),
        );
    }
    for warning in status.not_kept.iter().chain(&status.warning) {
        line(&output.paint(Paint::Caution, "warning"), warning);
    }
    if status.generations.is_empty() {
        line("kept", "none yet");
        return text;
    }
    text.push('\n');
    text + &kept(&status.generations)
}

fn kept(generations: &[GenerationLine]) -> String {
    let date = |time: Option<std::time::SystemTime>| time.map_or("-".to_owned(), age::date);
    let rows: Vec<Vec<String>> = generations
        .iter()
        .map(|line| {
            let mark = if line.in_force { "*" } else { "" };
            let about = &line.about;
            vec![
                format!("{}{mark}", line.generation),
                date(about.built),
                date(about.published),
                grouped(about.networks_v4),
                grouped(about.networks_v6),
                about.sha256.to_string().chars().take(8).collect(),
                cut(about.source.rsplit('/').next().unwrap_or_default(), 18),
            ]
        })
        .collect();
    let header = [
        "kept",
        "built",
        "first used",
        "IPv4",
        "IPv6",
        "sha256",
        "source",
    ];
    table::render(&header, &[3, 4], &rows) + "* in force\n"
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::{control::reply::RefusedDatabase, generations::About, geo::Digest};

    #[test]
    fn status_reads_well_in_80_columns() {
        let at = |seconds| Some(UNIX_EPOCH + Duration::from_secs(seconds));
        let about = |source: &str, built| About {
            source: source.into(),
            format: "MaxMind DB".into(),
            country: None,
            built,
            published: at(1_782_700_000),
            sha256: Digest::of(source.as_bytes()),
            networks_v4: 593_597,
            networks_v6: 1_073_898,
            addresses_v4: 3_702_258_432,
            sites_v6: 7,
            unterminated: false,
        };
        let line = |generation, source: &str, built| GenerationLine {
            generation,
            in_force: generation == 12,
            about: about(source, built),
        };
        let status = GeoStatus {
            daemon: true,
            source: "/var/lib/GeoIP/dbip-country-lite.mmdb".into(),
            format: "MaxMind DB".into(),
            generation: Some(12),
            built: Some("2026-06-01".into()),
            age: Some("built 2026-06-01, 175 days ago".into()),
            sha256: Digest::of(b"x"),
            networks_v4: 593_597,
            networks_v6: 773_898,
            addresses_v4: 3_702_258_432,
            sites_v6: 123_456,
            attribution: None,
            warning: None,
            held_since: at(1_790_000_000),
            refused: Some(RefusedDatabase {
                source: "/var/lib/GeoIP/dbip-country-lite.mmdb".into(),
                reason: "networks".into(),
                message: "296798 IPv4 networks instead of 593597; its IPv4 space changes by -50 %"
                    .into(),
                at: at(1_790_000_100),
            }),
            update_failed: Some(RefusedDatabase {
                source: "https://mirror.example/db.mmdb".into(),
                reason: "download".into(),
                message: "https://mirror.example/db.mmdb answered 404 Not Found".into(),
                at: at(1_790_000_200),
            }),
            not_kept: None,
            generations: vec![
                line(11, "builtin", at(1_780_345_978)),
                line(12, "/var/lib/GeoIP/dbip-country-lite.mmdb", None),
            ],
        };
        let expected = "\
source       /var/lib/GeoIP/dbip-country-lite.mmdb
format       MaxMind DB
age          built 2026-06-01, 175 days ago
networks     593,597 IPv4, 773,898 IPv6
space        3,702,258,432 IPv4 addresses, 123,456 IPv6 networks of /48
sha256       2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881
attribution  none given
held         since 2026-09-21T14:13:20Z, by a rollback; `cerco geo accept` ends
             that
refused      /var/lib/GeoIP/dbip-country-lite.mmdb at 2026-09-21T14:15:00Z
             (networks): 296798 IPv4 networks instead of 593597; its IPv4 space
             changes by -50 %
update       of https://mirror.example/db.mmdb failed at 2026-09-21T14:16:40Z
             (download): https://mirror.example/db.mmdb answered 404 Not Found

kept  built       first used     IPv4       IPv6  sha256    source
11    2026-06-01  2026-06-29  593,597  1,073,898  2f017719  builtin
12*   -           2026-06-29  593,597  1,073,898  a58a336b  dbip-country-lite…
* in force
";
        let text = render(&status, &Output::plain());
        assert_eq!(text, expected);
        assert!(text.lines().all(|line| line.chars().count() <= 80));
    }
}
