import { useMemo, useState } from "preact/hooks";
import type uPlot from "uplot";
import type { History, Step } from "./api.ts";
import { count, moment } from "./format.ts";
import { byHourOnly, filled, type Kept, STEP_SECONDS, stepFor } from "./model.ts";
import { Plot } from "./plot.tsx";
import { SERIES } from "./livechart.tsx";

/** A range that ends now, or one that stands still. */
export type Range = { last: number } | { since: number; until: number };

export interface Choice {
  range: Range;
  step: Step | "auto";
}

const HOUR = 3600;
const RANGES: [number, string][] = [[HOUR, "1 h"], [24 * HOUR, "24 h"], [7 * 24 * HOUR, "7 days"], [30 * 24 * HOUR, "30 days"]];
const STEPS: [Step | "auto", string][] = [["auto", "Auto"], ["minute", "Minute"], ["hour", "Hour"], ["day", "Day"]];
const SHORTEST = 300;
/** A little less than what the daemon answers with at most. */
const MAX_POINTS = 10_000;
const LONGEST = MAX_POINTS * STEP_SECONDS.day;

export const seconds = (range: Range): number => ("last" in range ? range.last : range.until - range.since);

export const bounds = (range: Range, now: number): [number, number] =>
  "last" in range ? [now - range.last, now] : [range.since, range.until];

export function historyPath(choice: Choice, now: number, country: string | null, kept: Kept | null): string {
  const [since, until] = bounds(choice.range, now);
  const asked = choice.step === "auto" ? stepFor(until - since) : choice.step;
  const fitting = (until - since) / STEP_SECONDS[asked] > MAX_POINTS ? stepFor(until - since) : asked;
  const step = fitting === "minute" && byHourOnly(since, kept) ? "hour" : fitting;
  const query = new URLSearchParams({ since: String(Math.max(0, Math.floor(since))), by: step });
  if (!("last" in choice.range)) query.set("until", String(Math.floor(until)));
  if (country !== null) query.set("country", country);
  return `/api/v1/history?${query}`;
}

interface Props {
  choice: Choice;
  onChoice: (choice: Choice) => void;
  history: History | null;
  fault: string | null;
  now: number;
  country: string | null;
  name: (code: string) => string;
  onCountry: (code: string | null) => void;
}

export function HistoryView(props: Props) {
  const { choice, onChoice, history, now } = props;
  const [asTable, setTable] = useState(false);
  const points = useMemo(() => (history ? filled(history) : []), [history]);
  const data = useMemo<uPlot.AlignedData>(() => {
    const last = points.at(-1);
    // A step is drawn up to the next one, so the last one needs an end.
    const drawn = last && history ? [...points, { ...last, unix: last.unix + STEP_SECONDS[history.by] }] : points;
    return [
      drawn.map((it) => it.unix),
      drawn.map((it) => it.dropped_packets),
      drawn.map((it) => it.would_drop_packets),
      drawn.map((it) => it.passed_packets),
    ];
  }, [points]);
  const [since, until] = bounds(choice.range, now);
  const show = (range: Range) => onChoice({ ...choice, range });
  const zoomTo = (from: number, to: number) => {
    const middle = (from + to) / 2;
    const half = Math.min(Math.max(to - from, SHORTEST), LONGEST) / 2;
    const end = Math.min(middle + half, now);
    show({ since: Math.max(0, Math.floor(end - 2 * half)), until: Math.floor(end) });
  };
  const move = (share: number) => {
    const by = share * (until - since);
    if (until + by >= now) show({ last: until - since });
    else show({ since: Math.max(0, since + by), until: until + by });
  };
  const zoom = (factor: number) => {
    const middle = (since + until) / 2;
    const half = ((until - since) * factor) / 2;
    if ("last" in choice.range) show({ last: Math.min(LONGEST, Math.max(SHORTEST, choice.range.last * factor)) });
    else zoomTo(middle - half, middle + half);
  };
  const total = history?.total;
  const sum = (packets: number | undefined) => (packets === undefined ? "–" : count(packets));
  const wide = points.filter((it) => it.counted_since !== null).length;
  const label = total
    ? `Packets by ${history.by} from ${moment(history.since)} to ${moment(history.until)}: ${count(total.dropped_packets)} dropped, ${count(total.would_drop_packets)} would have been, ${count(total.passed_packets)} passed.`
    : "History of packets; it is not known yet.";
  return (
    <section class="card" aria-labelledby="history-title">
      <div class="head">
        <h2 id="history-title">
          History{" "}
          <small>
            {props.country !== null ? `${props.name(props.country)}, ` : ""}
            {moment(since)} to {"last" in choice.range ? "now" : moment(until)}
          </small>
        </h2>
        {props.country !== null && (
          <button type="button" onClick={() => props.onCountry(null)}>
            All countries
          </button>
        )}
        <div class="choice" role="group" aria-label="Range of the history">
          {RANGES.map(([last, words]) => (
            <button
              key={last}
              type="button"
              aria-pressed={"last" in choice.range && choice.range.last === last}
              onClick={() => show({ last })}
            >
              {words}
            </button>
          ))}
        </div>
        <Custom since={since} until={until} onChoose={(from, to) => show({ since: from, until: to })} />
        <div class="choice" role="group" aria-label="Length of a step">
          {STEPS.map(([step, words]) => (
            <button key={step} type="button" aria-pressed={choice.step === step} onClick={() => onChoice({ ...choice, step })}>
              {words}
            </button>
          ))}
        </div>
        <div class="choice" role="group" aria-label="Move and zoom the history">
          <button type="button" aria-label="Earlier" onClick={() => move(-0.5)}>◀</button>
          <button type="button" aria-label="Later" onClick={() => move(0.5)}>▶</button>
          <button type="button" aria-label="Zoom in" onClick={() => zoom(0.5)}>+</button>
          <button type="button" aria-label="Zoom out" onClick={() => zoom(2)}>−</button>
        </div>
        <button type="button" aria-pressed={asTable} onClick={() => setTable(!asTable)}>
          As a table
        </button>
      </div>
      {props.fault !== null && <p class="fault">The history does not answer: {props.fault}</p>}
      <p class="sums">
        {history && `By ${history.by}: `}
        <b class="drop" id="history-drop">{sum(total?.dropped_packets)}</b> dropped,{" "}
        <b class="would_drop" id="history-would_drop">{sum(total?.would_drop_packets)}</b> would drop,{" "}
        <b class="pass" id="history-pass">{sum(total?.passed_packets)}</b> passed.{" "}
        {history && history.begins !== null && history.begins > since && <>The history begins {moment(history.begins)}. </>}
        {wide > 0 && (
          <>
            {count(wide)} {wide === 1 ? "step tells more than its" : "steps tell more than their"} own time, since nobody looked before: the table marks
            {wide === 1 ? " it" : " them"}.
          </>
        )}
      </p>
      {asTable ? (
        <div class="scroll tall" tabIndex={0} role="group" aria-label="History, the newest first">
          <table>
            <thead>
              <tr>
                <th scope="col">From</th>
                {SERIES.map((it) => (
                  <th key={it.label} scope="col" class="number">{it.label}</th>
                ))}
              </tr>
            </thead>
            <tbody>
              {points.slice(-2000).reverse().map((it) => (
                <tr key={it.unix}>
                  <td>
                    {moment(it.unix)}
                    {it.counted_since !== null && <small> * counted since {moment(it.counted_since)}, nobody looked meanwhile</small>}
                  </td>
                  <td class="number">{count(it.dropped_packets)}</td>
                  <td class="number">{count(it.would_drop_packets)}</td>
                  <td class="number">{count(it.passed_packets)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      ) : (
        <Plot data={data} series={SERIES} height={260} label={label} stepped range={[since, until]} onZoom={zoomTo} />
      )}
      {!asTable && <p class="hint">Draw over the chart to look closer.</p>}
    </section>
  );
}

const local = (unix: number): string => new Date(unix * 1000 - new Date(unix * 1000).getTimezoneOffset() * 60_000).toISOString().slice(0, 16);

function Custom({ since, until, onChoose }: { since: number; until: number; onChoose: (since: number, until: number) => void }) {
  const [open, setOpen] = useState(false);
  const [from, setFrom] = useState("");
  const [to, setTo] = useState("");
  const toggle = () => {
    setFrom(local(since));
    setTo(local(until));
    setOpen(!open);
  };
  const [first, last] = [Date.parse(from) / 1000, Date.parse(to) / 1000];
  const isRange = Number.isFinite(first) && Number.isFinite(last) && last > first;
  return (
    <>
      <button type="button" aria-expanded={open} onClick={toggle}>
        Custom
      </button>
      {open && (
        <form
          class="custom"
          onSubmit={(event) => {
            event.preventDefault();
            if (isRange) onChoose(first, last);
          }}
        >
          <label>
            From <input type="datetime-local" value={from} required onInput={(it) => setFrom(it.currentTarget.value)} />
          </label>
          <label>
            to <input type="datetime-local" value={to} required onInput={(it) => setTo(it.currentTarget.value)} />
          </label>
          <button type="submit" disabled={!isRange}>
            Show
          </button>
        </form>
      )}
    </>
  );
}
