// What the daemon answers; filter-userspace/src/control/reply.rs and history/reply.rs say it in full.

export type Verdict = "pass" | "drop" | "would_drop";

export interface ReasonTotal {
  reason: string;
  verdict: Verdict;
  packets: number;
  bytes: number;
}

export interface CountryTotal {
  class: string;
  name: string | null;
  action: string | null;
  passed_packets: number;
  dropped_packets: number;
  would_drop_packets: number;
  passed_bytes: number;
  dropped_bytes: number;
  would_drop_bytes: number;
}

export interface Database {
  source: string;
  format: string;
  built: number | null;
  networks_v4: number;
  networks_v6: number;
  attribution: string | null;
  warning: string | null;
  generation: number | null;
  held_since: number | null;
  refused: { source: string; message: string; at: number | null } | null;
}

export interface Status {
  version: string;
  uptime_seconds: number | null;
  mode: "observe" | "enforce";
  trial: { change: string | null; remaining_seconds: number } | null;
  interfaces: { interface: string; attach_mode: string; fallback_reason?: string }[];
  database: Database | null;
  published: number | null;
  allowed_countries: string[] | null;
  default_action: string | null;
  table_bytes: number | null;
  kernel_bytes: number | null;
  replies: { enabled: boolean; open: { tcp: number; udp: number; icmp: number } | null } | null;
  totals: ReasonTotal[];
  bans: number;
  runtime_rules: number | null;
  warnings: string[];
  last_reload_error: string | null;
  history: {
    bytes: number;
    max_bytes: number;
    minutes_since: number | null;
    hours_since: number | null;
    fault: string | null;
  } | null;
}

export interface State {
  unix_ms: number;
  boot_ms: number;
  gate: string;
  status: Status;
  countries: CountryTotal[];
  standing: { policy_sha256: string; database: string; database_sha256: string };
}

export interface Fates {
  passed_packets: number;
  passed_bytes: number;
  dropped_packets: number;
  dropped_bytes: number;
  would_drop_packets: number;
  would_drop_bytes: number;
}

export interface Point extends Fates {
  unix: number;
  counted_since: number | null;
}

export interface Line extends Fates {
  name: string;
}

export interface Bounded {
  at_least: number;
  at_most: number;
}

export interface Change {
  unix: number;
  kind: string;
  who: string;
  what: string;
}

export interface History {
  since: number;
  until: number;
  by: Step;
  begins: number | null;
  total: Fates;
  points: Point[];
  reasons: Line[];
  countries: Line[];
  sampled: {
    /** By whole hours, so wider than the history mostly is. */
    since: number;
    until: number;
    events: number;
    frames: number;
    sources: (Bounded & { source: string; class: string })[];
    other_sources_at_most: number;
    ports: (Bounded & { port: string })[];
    other_ports_at_most: number;
    distinct_sources: number | null;
    distinct_error: number;
  };
  changes: Change[];
}

export type Step = "minute" | "hour" | "day";

export interface Event {
  unix_us: number;
  interface: string;
  verdict: Verdict;
  reason: string;
  class: string | null;
  source?: string;
  destination?: string;
  protocol?: number;
  source_port?: number | null;
  destination_port?: number | null;
  frame_bytes: number;
  stands_for: number;
}

export interface Batch {
  events: Event[];
  omitted: number;
  missed: number;
}

export interface About {
  version: string;
  token: boolean;
  countries: { code: string; name: string }[];
}

export interface WorldMap {
  width: number;
  height: number;
  countries: Record<string, { path: string; x: number; y: number; dot?: boolean }>;
}

declare const MAP_URL: string;
export const mapUrl = MAP_URL;

/** An answer that is no answer; `message` is for people. */
export class Fault extends Error {}

const PATIENCE_MS = 15_000;

export async function get<T>(path: string): Promise<T> {
  let answer: Response;
  try {
    answer = await fetch(path, {
      credentials: "same-origin",
      signal: AbortSignal.timeout(PATIENCE_MS),
    });
  } catch {
    throw new Fault("the daemon does not answer");
  }
  if (answer.status === 401) {
    location.assign("/login");
    throw new Fault("signed out");
  }
  const body: unknown = await answer.json().catch(() => null);
  if (!answer.ok) {
    const error = body && typeof body === "object" && "error" in body ? body.error : null;
    throw new Fault(typeof error === "string" ? error : `the daemon answers ${answer.status}`);
  }
  return body as T;
}
