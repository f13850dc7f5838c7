//! The result of the demo in numbers: what `--json` writes and the table shows.

use serde::Serialize;
use std::path::PathBuf;

/// Raised when a field changes its meaning or disappears.
pub const SCHEMA: u32 = 1;

#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    pub schema: u32,
    pub seed: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gate_off: Option<Run>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gate_on: Option<Run>,
    /// cerco's report of the attack on the gate, an HTML file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub report: Option<PathBuf>,
}

/// One run of the attack.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    /// Frames that the attackers put on the host's cable, flood and connections together.
    pub attack_packets: u64,
    /// Of those, the frames of the flood.
    pub flood_packets: u64,
    pub flood_packets_asked: u64,
    pub flood_s: f64,
    /// How often the cable was full and the sender had to wait.
    pub flood_waits: u64,
    /// Frames of the attackers behind the gate, counted there without cerco.
    pub denied_passed: u64,
    /// Frames of the flood and connections that cerco says it dropped, by the source's country.
    pub denied_dropped: u64,
    /// Single datagrams from allowed addresses: on the cable, and behind the gate.
    pub allowed_sent: u64,
    pub allowed_arrived: u64,
    pub allowed_dropped: u64,
    pub client_tried: u64,
    pub client_ok: u64,
    pub client_failed: u64,
    /// Of the served requests, both families; null when none was served.
    pub client_p50_ms: Option<f64>,
    pub client_p99_ms: Option<f64>,
    pub client_ipv4: Client,
    pub client_ipv6: Client,
    pub bot_connections_tried: u64,
    pub bot_connections_connected: u64,
    pub bot_connections_served: u64,
    /// Whether `passed` + `dropped` equals `sent` in every country.
    pub by_country_equal: bool,
    pub by_country: Vec<CountryRow>,
    /// Whether cerco's report has the same numbers, and nobody allowed turned away; null without a gate.
    pub report_equal: Option<bool>,
    pub cpu_seconds: CpuSeconds,
    pub duration_s: f64,
}

#[derive(Clone, Debug, Serialize)]
pub struct Client {
    pub tried: u64,
    pub ok: u64,
    pub p50_ms: Option<f64>,
    pub p99_ms: Option<f64>,
}

/// Packets of one attacking country: sent as the attackers count, passed and dropped as cerco
/// counts. Without a gate every packet that reached the host passed; `passed` is null when some
/// were lost before, since then nobody knows whose.
#[derive(Clone, Debug, Serialize)]
pub struct CountryRow {
    pub code: String,
    pub name: &'static str,
    pub sent: u64,
    pub passed: Option<u64>,
    pub dropped: u64,
}

/// From the first to the last packet of the attack.
#[derive(Clone, Debug, Serialize)]
pub struct CpuSeconds {
    /// The kernel's work on arriving packets, of the whole machine.
    pub softirq: f64,
    pub nginx: f64,
    pub cerco: f64,
    /// The attackers and the client, which share the machine.
    pub demo: f64,
    /// Everything that ran on the machine.
    pub machine: f64,
}

impl Run {
    /// What a gate must not do, and did; empty when all is well.
    pub fn failures(&self) -> Vec<String> {
        let mut failures = Vec::new();
        let mut expect = |holds: bool, text: String| {
            if !holds {
                failures.push(text);
            }
        };
        expect(
            self.flood_packets >= self.flood_packets_asked,
            format!(
                "only {} of {} packets were sent in the time given",
                grouped(self.flood_packets),
                grouped(self.flood_packets_asked)
            ),
        );
        expect(
            self.denied_passed == 0,
            format!(
                "{} packets from denied countries got in",
                grouped(self.denied_passed)
            ),
        );
        expect(
            self.allowed_sent > 0 && self.allowed_dropped == 0,
            format!(
                "{} of {} packets from allowed addresses were lost",
                grouped(self.allowed_dropped),
                grouped(self.allowed_sent)
            ),
        );
        expect(
            self.client_tried > 0 && self.client_failed == 0,
            format!(
                "{} of {} requests of the Macau client failed",
                grouped(self.client_failed),
                grouped(self.client_tried)
            ),
        );
        expect(
            self.bot_connections_connected == 0,
            format!(
                "{} connections from denied countries were accepted",
                grouped(self.bot_connections_connected)
            ),
        );
        expect(
            self.by_country_equal,
            "cerco's numbers by country differ from what was sent".into(),
        );
        expect(
            self.report_equal != Some(false),
            "the numbers of cerco's report differ from what was sent".into(),
        );
        failures
    }
}

/// 1234567 → `1,234,567`
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
