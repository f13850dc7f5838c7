import { deepStrictEqual as equal } from "node:assert";
import { test } from "node:test";
import type { History, State, Verdict } from "./api.ts";
import { bytes, clock, count, rate, span } from "./format.ts";
import { historyPath } from "./history.tsx";
import { decades, filled, Live, NO_FATES, stepFor, totals } from "./model.ts";

const START = 1_800_000_000_000;

/** `counts`: dropped, would-be dropped and passed packets, all of one country. */
const state = (seconds: number, counts: [number, number, number], gate = "one"): State => {
  const verdicts: Verdict[] = ["drop", "would_drop", "pass"];
  const [drop, would, pass] = counts;
  const status = {
    totals: verdicts.map((verdict, index) => ({ reason: "r", verdict, packets: counts[index] ?? 0, bytes: 0 })),
  };
  const country = {
    ...NO_FATES,
    class: "US",
    name: null,
    action: null,
    dropped_packets: drop,
    would_drop_packets: would,
    passed_packets: pass,
  };
  const [unix_ms, boot_ms] = [START + seconds * 1000, 5_000 + seconds * 1000];
  return { unix_ms, boot_ms, gate, status, countries: [country] } as unknown as State;
};

test("rates come of the counters between two moments", () => {
  const live = new Live();
  equal(live.rates(), null);
  live.see(state(0, [100, 0, 10]));
  equal(live.rates(), null);
  live.see(state(1, [150, 0, 11]));
  equal(live.rates(), { drop: 50, would_drop: 0, pass: 1 });
  live.see(state(3, [450, 6, 17]));
  equal(live.beats.map((it) => it.rates.drop), [50, 150]);
  live.see(state(4, [450, 6, 17]));
  equal(live.rates(), { drop: 100, would_drop: 2, pass: 2 }, "over the last three seconds");
  equal(live.see(state(4, [450, 6, 17])), false, "the same moment twice");
  equal(live.beats.length, 3);
});

test("a gate that counts anew makes no rate below zero and none of what was before", () => {
  const live = new Live();
  live.see(state(0, [1000, 0, 0]));
  live.see(state(1, [1010, 0, 0]));
  live.see(state(2, [4, 0, 0], "two"));
  equal(live.rates(), null);
  equal(live.beats.at(-1)?.rates.drop, 0);
  live.see(state(3, [10, 0, 0], "two"));
  equal(live.rates()?.drop, 6);
  live.see(state(4, [3, 0, 0], "two"));
  equal(live.rates(), null);
});

test("the last minute is a minute, and less while the page is young", () => {
  const live = new Live();
  for (let second = 0; second <= 90; second += 1) live.see(state(second, [second * 10, second, 0]));
  const { seconds, lines } = live.lastMinute();
  equal(seconds, 60);
  equal(lines.map((it) => [it.name, it.dropped_packets, it.would_drop_packets]), [["US", 600, 60]]);
  const young = new Live();
  young.see(state(0, [5, 0, 0]));
  young.see(state(2, [9, 0, 0]));
  equal(young.lastMinute().seconds, 2);
  equal(young.lastMinute().lines[0]?.dropped_packets, 4);
});

test("five minutes are kept, and minutes of the history stand in front", () => {
  const live = new Live();
  for (let second = 0; second <= 400; second += 1) live.see(state(second, [second, 0, 0]));
  equal(live.beats.length, 301);
  const page = new Live();
  page.see(state(0, [0, 0, 0]));
  const first = START / 1000;
  const minutes = [-600, -120, -60, 0].map((it) => ({ ...NO_FATES, unix: first + it, counted_since: null, dropped_packets: 120 }));
  page.remember(minutes);
  equal(page.beats.map((it) => [it.unix - first, it.rates.drop]), [[-90, 2], [-30, 2]]);
});

test("a minute that tells of a time in which nobody looked is the average of that time", () => {
  const page = new Live();
  page.see(state(0, [0, 0, 0]));
  const first = START / 1000;
  const point = (since: number, dropped_packets: number, counted: number | null) => {
    const counted_since = counted === null ? null : first + counted;
    return { ...NO_FATES, unix: first + since, counted_since, dropped_packets };
  };
  page.remember([point(-240, 60, null), point(-180, 0, null), point(-120, 360, -180), point(-60, 0, null)]);
  equal(page.beats.map((it) => [it.unix - first, it.rates.drop]), [[-210, 1], [-150, 3], [-90, 3], [-30, 0]]);
});

test("a minute begins anew when the page saw nothing for longer", () => {
  const live = new Live();
  for (let second = 0; second <= 70; second += 1) live.see(state(second, [second, 0, 0]));
  live.see(state(3670, [7270, 0, 0]));
  equal(live.beats.at(-1)?.rates.drop, 2, "true on the average");
  equal([live.rates(), live.lastMinute().seconds], [null, 0]);
  live.see(state(3672, [7280, 0, 0]));
  equal([live.rates()?.drop, live.lastMinute().seconds, live.lastMinute().lines[0]?.dropped_packets], [5, 2, 10]);
  equal(live.see(state(3671, [7275, 0, 0])), false, "an older moment of the same gate");
  equal(live.rates()?.drop, 5);
});

test("totals are sums over the reasons", () => {
  const both = state(0, [7, 2, 1]);
  both.status.totals.push({ reason: "other", verdict: "drop", packets: 3, bytes: 0 });
  equal(totals(both), { drop: 10, would_drop: 2, pass: 1 });
});

test("steps in which nothing came are zero, from where the history begins", () => {
  const point = { ...NO_FATES, unix: 1_200, counted_since: null, dropped_packets: 5 };
  const history = { since: 600, until: 1_380, by: "minute", begins: 1_080, points: [point] } as unknown as History;
  equal(filled(history).map((it) => [it.unix, it.dropped_packets]), [[1080, 0], [1140, 0], [1200, 5], [1260, 0], [1320, 0]]);
  equal(filled({ ...history, begins: null, points: [] }), [], "nothing is known");
});

test("a range is asked for in steps that it can be drawn with", () => {
  equal([3600, 90_000, 90_001, 30 * 86_400, 60 * 86_400].map(stepFor), ["minute", "minute", "hour", "hour", "day"]);
  const ask = (range: { last: number } | { since: number; until: number }, step: "auto" | "minute", country: string | null) =>
    historyPath({ range, step }, 1_800_000_000, country, null);
  equal(ask({ last: 3600 }, "auto", null), "/api/v1/history?since=1799996400&by=minute");
  equal(ask({ since: 1000, until: 1600 }, "auto", "US"), "/api/v1/history?since=1000&by=minute&until=1600&country=US");
  // A minute for each of 30 days is more than the daemon answers with.
  equal(ask({ last: 30 * 86_400 }, "minute", null), "/api/v1/history?since=1797408000&by=hour");
  equal(ask({ last: 2_000_000_000 }, "auto", null), "/api/v1/history?since=0&by=day", "nothing was before 1970");
});

test("what is kept by the hour is asked for by the hour", () => {
  const now = 1_800_000_000;
  const by = (last: number, minutes_since: number | null, hours_since: number | null) =>
    historyPath({ range: { last }, step: "minute" }, now, null, { minutes_since, hours_since }).split("by=")[1];
  const [day, month] = [86_400, 30 * 86_400];
  equal(by(day, now - 2 * day, now - month), "minute");
  equal(by(3 * day, now - 2 * day, now - month), "hour");
  equal(by(day, now - 600, now - 2400), "minute", "a history that is young");
  equal([by(day, null, null), by(day, now - 600, null)], ["minute", "minute"]);
});

test("colours stand for powers of ten", () => {
  equal(decades(0, 6), [1, 10, 100, 1000, 10_000, 100_000]);
  equal(decades(350, 6), [1, 10, 100, 1000, 10_000, 100_000]);
  equal(decades(3_000_000, 6), [10, 100, 1000, 10_000, 100_000, 1_000_000]);
});

test("numbers and times are written as they are read", () => {
  equal([0, 999, 1_234_567].map(count), ["0", "999", "1,234,567"]);
  equal([0, 0.04, 2.25, 9.95, 1234.5].map(rate), ["0", "0.0", "2.3", "10", "1,235"]);
  equal([0, 999, 1_500, 45_800_000].map(bytes), ["0 B", "999 B", "1.5 kB", "45.8 MB"]);
  equal([5, 65, 3_700, 90_000, 200_000].map(span), ["5 s", "1 min 5 s", "1 h 1 min", "1 day", "2 days"]);
  equal(clock(1_800_000_000), "08:00:00");
});
