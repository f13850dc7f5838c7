// What is reckoned from the counters: the daemon tells totals, and this page makes rates of them.

import type { CountryTotal, Fates, History, Line, Point, State, Step } from "./api.ts";

export interface Counts {
  pass: number;
  drop: number;
  would_drop: number;
}

export const NONE: Counts = { pass: 0, drop: 0, would_drop: 0 };

/** Packets by verdict, all reasons together. */
export const totals = (state: State): Counts => {
  const sum = { ...NONE };
  for (const line of state.status.totals) sum[line.verdict] += line.packets;
  return sum;
};

/** Packets of a country that the policy denies, dropped or not. */
export const denied = (line: { dropped_packets: number; would_drop_packets: number }): number =>
  line.dropped_packets + line.would_drop_packets;

interface Sample {
  bootMs: number;
  unixMs: number;
  totals: Counts;
  /** Packets denied, and passed, by class. */
  classes: Map<string, [number, number, number]>;
}

/** One second of the live chart. */
export interface Beat {
  unix: number;
  rates: Counts;
}

export const LIVE_SECONDS = 300;
const MINUTE_MS = 60_000;
/** Hidden tabs are woken once a minute; what lies further apart is no minute any more. */
const GAP_MS = 90_000;
/** A tile shows the rate over so long, since one second alone jumps. */
const TILE_MS = 3_000;

/** The last minutes, second by second. */
export class Live {
  private samples: Sample[] = [];
  beats: Beat[] = [];
  /** What stands before this, in seconds since 1970, are averages of whole minutes. */
  exactSince: number | null = null;
  state: State | null = null;

  /** Takes a state; false: it, or a later one, was here already. */
  see(state: State): boolean {
    const before = this.samples.at(-1);
    if (before && this.state?.gate === state.gate && state.boot_ms <= before.bootMs) return false;
    const sum = totals(state);
    const classes = new Map<string, [number, number, number]>();
    for (const line of state.countries) {
      classes.set(line.class, [line.dropped_packets, line.would_drop_packets, line.passed_packets]);
    }
    const sample = { bootMs: state.boot_ms, unixMs: state.unix_ms, totals: sum, classes };
    // Another gate counts from zero, and a host that was started anew has another clock.
    const goesOn =
      before &&
      this.state?.gate === state.gate &&
      sum.pass >= before.totals.pass &&
      sum.drop >= before.totals.drop &&
      sum.would_drop >= before.totals.would_drop;
    if (goesOn) {
      this.beats.push({ unix: state.unix_ms / 1000, rates: between(before, sample) });
      if (state.boot_ms - before.bootMs > GAP_MS) this.samples = [];
    } else {
      this.samples = [];
      if (before) this.beats.push({ unix: state.unix_ms / 1000, rates: NONE });
    }
    this.samples.push(sample);
    this.state = state;
    const first = this.samples.findLastIndex((it) => it.bootMs <= state.boot_ms - MINUTE_MS);
    if (first > 0) this.samples.splice(0, first);
    const oldest = state.unix_ms / 1000 - LIVE_SECONDS;
    this.beats = this.beats.filter((it) => it.unix >= oldest);
    return true;
  }

  /** Every minute of a time that the history knows, in front of what was seen here. */
  remember(points: Point[]): void {
    const first = this.beats[0]?.unix ?? (this.state ? this.state.unix_ms / 1000 : 0);
    const earlier: Beat[] = [];
    // What was counted while nobody looked stands in the minute that ends it: it is the average of all of them.
    let gap = { since: Infinity, rates: NONE };
    for (const it of points.toReversed()) {
      if (it.unix + 60 > first) continue;
      if (it.unix < first - LIVE_SECONDS) break;
      if (it.counted_since !== null) {
        const since = Math.min(it.counted_since, it.unix);
        gap = { since, rates: perSecond(it, it.unix + 60 - since) };
      }
      earlier.unshift({ unix: it.unix + 30, rates: it.unix >= gap.since ? gap.rates : perSecond(it, 60) });
    }
    if (earlier.length > 0) this.exactSince = first;
    this.beats = [...earlier, ...this.beats];
  }

  /** Packets per second over the last moments. */
  rates(): Counts | null {
    const last = this.samples.at(-1);
    if (!last) return null;
    const earlier = this.samples.findLast((it) => it.bootMs <= last.bootMs - TILE_MS) ?? this.samples[0];
    return earlier && earlier !== last ? between(earlier, last) : null;
  }

  /** What each class got since a minute ago, and how long that is in seconds: less while the page is young, more in a hidden tab. */
  lastMinute(): { seconds: number; lines: Line[] } {
    const [first, last] = [this.samples[0], this.samples.at(-1)];
    if (!first || !last) return { seconds: 0, lines: [] };
    const lines: Line[] = [];
    for (const [name, [drop, would, pass]] of last.classes) {
      const before = first.classes.get(name) ?? [0, 0, 0];
      lines.push({
        ...NO_FATES,
        name,
        dropped_packets: drop - before[0],
        would_drop_packets: would - before[1],
        passed_packets: pass - before[2],
      });
    }
    return { seconds: (last.bootMs - first.bootMs) / 1000, lines };
  }
}

export const NO_FATES: Fates = {
  passed_packets: 0,
  passed_bytes: 0,
  dropped_packets: 0,
  dropped_bytes: 0,
  would_drop_packets: 0,
  would_drop_bytes: 0,
};

const perSecond = (it: Fates, seconds: number): Counts => ({
  pass: it.passed_packets / seconds,
  drop: it.dropped_packets / seconds,
  would_drop: it.would_drop_packets / seconds,
});

const between = (before: Sample, after: Sample): Counts => {
  const seconds = (after.bootMs - before.bootMs) / 1000;
  const of = (key: keyof Counts) => Math.max(0, after.totals[key] - before.totals[key]) / seconds;
  return { pass: of("pass"), drop: of("drop"), would_drop: of("would_drop") };
};

export const sinceStart = (countries: CountryTotal[]): Line[] =>
  countries.map((it) => ({ ...it, name: it.class }));

export const STEP_SECONDS: Record<Step, number> = { minute: 60, hour: 3600, day: 86_400 };

/** The step that shows a range in some hundred points. */
export const stepFor = (seconds: number): Step => {
  if (seconds <= 25 * 3600) return "minute";
  return seconds <= 45 * 86_400 ? "hour" : "day";
};

/** What is kept of a time; minutes of an older one are put together to hours. */
export interface Kept {
  minutes_since: number | null;
  hours_since: number | null;
}

/** Whether what happened at `since` is known by the hour alone. */
export const byHourOnly = (since: number, kept: Kept | null): boolean => {
  if (!kept || kept.minutes_since === null || kept.hours_since === null) return false;
  return since < kept.minutes_since && kept.hours_since + 3600 <= kept.minutes_since;
};

/** Every step of the history, also those in which nothing came, which it does not name. */
export const filled = (history: History): Point[] => {
  const step = STEP_SECONDS[history.by];
  const known = new Map(history.points.map((it) => [it.unix, it]));
  const floor = (unix: number) => unix - (unix % step);
  if (history.begins === null) return [];
  const first = floor(Math.max(history.since, history.begins));
  const points: Point[] = [];
  for (let unix = first; unix < history.until; unix += step) {
    points.push(known.get(unix) ?? { ...NO_FATES, unix, counted_since: null });
  }
  return points;
};

/** Limits of the colours: powers of ten below the largest value, the largest last. */
export const decades = (largest: number, classes: number): number[] => {
  const top = Math.max(classes - 1, Math.ceil(Math.log10(Math.max(largest, 1))) - 1);
  return Array.from({ length: classes }, (_, index) => 10 ** (top - classes + 1 + index));
};
