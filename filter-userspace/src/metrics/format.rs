//! The two text formats of an exposition, and which of them a scraper wants.
//!
//! Prometheus asks for OpenMetrics 1.0, which has units. What asks for nothing (`curl`, `promtool`, older
//! agents) gets the classic format of Prometheus, version 0.0.4, which everything reads.

use std::fmt::{self, Write};

use hyper::header::HeaderValue;
use prometheus_client::{encoding::text, registry::Registry};

use super::Snapshot;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// <https://prometheus.io/docs/instrumenting/exposition_formats/>
    Classic,
    /// <https://prometheus.io/docs/specs/om/open_metrics_spec/>
    OpenMetrics,
}

impl Format {
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Classic => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// What the `Accept` headers of a request ask for. OpenMetrics has to be named, in a version that is
    /// written here, and to be wanted no less than plain text.
    pub fn wanted<'a>(accept: impl IntoIterator<Item = &'a HeaderValue>) -> Self {
        let (mut classic, mut open_metrics) = (0, 0);
        let headers = accept.into_iter().filter_map(|value| value.to_str().ok());
        for range in headers.flat_map(|value| value.split(',')) {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
            let parameters: Vec<(&str, &str)> =
                parts.filter_map(|part| part.split_once('=')).collect();
            let parameter = |name: &str| {
                let named = parameters
                    .iter()
                    .find(|(key, _)| key.eq_ignore_ascii_case(name));
                named.map(|(_, value)| value.trim_matches('"'))
            };
            let weight = parameter("q").map_or(Some(1000), thousandths).unwrap_or(0);
            let (best, version) = match kind.as_str() {
                "application/openmetrics-text" => (&mut open_metrics, "1.0.0"),
                "text/plain" => (&mut classic, "0.0.4"),
                _ => continue,
            };
            if parameter("version").is_none_or(|asked| asked == version) {
                *best = weight.max(*best);
            }
        }
        if open_metrics > 0 && open_metrics >= classic {
            Self::OpenMetrics
        } else {
            Self::Classic
        }
    }
}

/// A weight of RFC 9110 §12.4.2, `0` to `1` with up to three decimals, in thousandths.
fn thousandths(weight: &str) -> Option<u32> {
    let weight: f32 = weight.parse().ok()?;
    (0.0..=1.0)
        .contains(&weight)
        .then(|| (weight * 1000.0).round() as u32)
}

/// The exposition of `snapshot`.
pub fn render(snapshot: Snapshot, format: Format) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(snapshot));
    let mut body = String::new();
    text::encode(&mut body, &registry)?;
    match format {
        Format::OpenMetrics => Ok(body),
        Format::Classic => classic(&body),
    }
}

/// The same in the classic format: samples are alike in both, but there a family has the name of its
/// samples, there is no type `info`, and neither units nor an end.
fn classic(open_metrics: &str) -> Result<String, fmt::Error> {
    let mut body = String::with_capacity(open_metrics.len());
    let mut help = "";
    for line in open_metrics.lines() {
        let Some(comment) = line.strip_prefix("# ") else {
            writeln!(body, "{line}")?;
            continue;
        };
        match comment.splitn(3, ' ').collect::<Vec<_>>()[..] {
            // The type, which decides about the name, comes behind it.
            ["HELP", _, text] => help = text,
            ["TYPE", family, kind] => {
                let (suffix, kind) = match kind {
                    "counter" => ("_total", "counter"),
                    "info" => ("_info", "gauge"),
                    other => ("", other),
                };
                writeln!(body, "# HELP {family}{suffix} {help}")?;
                writeln!(body, "# TYPE {family}{suffix} {kind}")?;
            }
            _ => {}
        }
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classic_format_names_families_as_their_samples() {
        let open_metrics = "# HELP a_packets Frames of a\n# TYPE a_packets counter\n\
                            # UNIT a_packets packets\na_packets_total{b=\"# c\"} 7\n\
                            # HELP d A size\n# TYPE d gauge\nd 1.5\n\
                            # HELP e_build The version\n# TYPE e_build info\n\
                            e_build_info{version=\"1\"} 1\n# EOF\n";
        let expected = "# HELP a_packets_total Frames of a\n# TYPE a_packets_total counter\n\
                        a_packets_total{b=\"# c\"} 7\n\
                        # HELP d A size\n# TYPE d gauge\nd 1.5\n\
                        # HELP e_build_info The version\n# TYPE e_build_info gauge\n\
                        e_build_info{version=\"1\"} 1\n";
        assert_eq!(classic(open_metrics).unwrap(), expected);
    }

    #[test]
    fn open_metrics_is_for_those_who_ask_for_it() {
        let prometheus_2 = "application/openmetrics-text;version=1.0.0,\
                            application/openmetrics-text;version=0.0.1;q=0.75,\
                            text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        let prometheus_3 = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
                            application/openmetrics-text;version=0.0.1;q=0.4,\
                            text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,\
                            text/plain;version=0.0.4;q=0.2,*/*;q=0.1";
        let cases: [(&str, &[&str], Format); 14] = [
            ("no header", &[], Format::Classic),
            ("curl", &["*/*"], Format::Classic),
            ("Prometheus 2", &[prometheus_2], Format::OpenMetrics),
            ("Prometheus 3", &[prometheus_3], Format::OpenMetrics),
            (
                "any version",
                &["application/openmetrics-text"],
                Format::OpenMetrics,
            ),
            (
                "quoted, in capitals",
                &["Application/OpenMetrics-Text; Version=\"1.0.0\""],
                Format::OpenMetrics,
            ),
            (
                "another version",
                &["application/openmetrics-text;version=2.0.0"],
                Format::Classic,
            ),
            (
                "refused",
                &["application/openmetrics-text;q=0"],
                Format::Classic,
            ),
            (
                "plain is wanted more",
                &["application/openmetrics-text;q=0.5,text/plain"],
                Format::Classic,
            ),
            (
                "alike",
                &["text/plain,application/openmetrics-text"],
                Format::OpenMetrics,
            ),
            (
                "in a second header",
                &["text/html;q=0.9", "application/openmetrics-text"],
                Format::OpenMetrics,
            ),
            (
                "a weight that is none",
                &["application/openmetrics-text;q=high"],
                Format::Classic,
            ),
            ("something else", &["application/json"], Format::Classic),
            ("nonsense", &[";;=,,q=1;"], Format::Classic),
        ];
        for (name, accept, expected) in cases {
            let values: Vec<HeaderValue> =
                accept.iter().map(|text| text.parse().unwrap()).collect();
            assert_eq!(Format::wanted(&values), expected, "{name}");
        }
        let opaque = HeaderValue::from_bytes(b"application/openmetrics-text;\xff").unwrap();
        assert_eq!(Format::wanted([&opaque]), Format::Classic);
    }
}
