import { useMemo, useState } from "preact/hooks";
import type uPlot from "uplot";
import { clock, rate } from "./format.ts";
import { LIVE_SECONDS, type Live } from "./model.ts";
import { Plot, type Series } from "./plot.tsx";

export const SERIES: Series[] = [
  { label: "Dropped", colour: "drop", fill: true },
  { label: "Would drop", colour: "would", dash: [6, 3] },
  { label: "Passed", colour: "pass" },
];

export function LiveChart({ live, tick }: { live: Live; tick: number }) {
  const [asTable, setTable] = useState(false);
  const { beats } = live;
  const data = useMemo<uPlot.AlignedData>(
    () => [
      beats.map((it) => it.unix),
      beats.map((it) => it.rates.drop),
      beats.map((it) => it.rates.would_drop),
      beats.map((it) => it.rates.pass),
    ],
    [tick],
  );
  const now = live.state ? live.state.unix_ms / 1000 : Date.now() / 1000;
  const last = beats.at(-1)?.rates;
  const label = last
    ? `Packets a second over the last five minutes. Now: ${rate(last.drop)} dropped, ${rate(last.would_drop)} would be dropped, ${rate(last.pass)} passed.`
    : "Packets a second over the last five minutes; nothing was seen yet.";
  return (
    <section class="card live" aria-labelledby="live-title">
      <div class="head">
        <h2 id="live-title">
          Packets a second{" "}
          <small>
            the last five minutes
            {live.exactSince !== null && live.exactSince > now - LIVE_SECONDS && `; until ${clock(live.exactSince)} averages of minutes`}
          </small>
        </h2>
        <button type="button" aria-pressed={asTable} onClick={() => setTable(!asTable)}>
          As a table
        </button>
      </div>
      {asTable ? (
        <div class="scroll tall" tabIndex={0} role="group" aria-label="Packets a second, the newest first">
          <table>
            <thead>
              <tr>
                <th scope="col">Time</th>
                {SERIES.map((it) => (
                  <th key={it.label} scope="col" class="number">{it.label}</th>
                ))}
              </tr>
            </thead>
            <tbody>
              {beats.slice(-60).reverse().map((it) => (
                <tr key={it.unix}>
                  <td>{clock(it.unix)}</td>
                  <td class="number">{rate(it.rates.drop)}</td>
                  <td class="number">{rate(it.rates.would_drop)}</td>
                  <td class="number">{rate(it.rates.pass)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      ) : (
        <Plot data={data} series={SERIES} height={250} label={label} show={rate} range={[now - LIVE_SECONDS, now]} />
      )}
    </section>
  );
}
