import { useState } from "preact/hooks";
import type { Event } from "./api.ts";
import { clock, count, protocol, words } from "./format.ts";
import { useEvents } from "./use.ts";

const end = (address: string | undefined, port: number | null | undefined): string => {
  if (address === undefined) return "–";
  if (port === null || port === undefined) return address;
  return address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;
};

const time = (it: Event): string => `${clock(it.unix_us / 1e6)}.${String(Math.floor(it.unix_us / 1000) % 1000).padStart(3, "0")}`;

export function Events() {
  const [paused, setPaused] = useState(false);
  const stream = useEvents(paused);
  return (
    <section class="card" aria-labelledby="events-title">
      <div class="head">
        <h2 id="events-title">
          Events <small>a sample of what is denied, the newest first{paused ? ", paused" : stream.open ? "" : ", connecting"}</small>
        </h2>
        {stream.omitted > 0 && <span class="hint">{count(stream.omitted)} more came and are not shown</span>}
        <button type="button" id="pause" aria-pressed={paused} onClick={() => setPaused(!paused)}>
          Pause
        </button>
      </div>
      <div class="scroll tall" tabIndex={0} role="group" aria-label="Events">
        <table id="events">
          <thead>
            <tr>
              <th scope="col">Time</th>
              <th scope="col">Verdict</th>
              <th scope="col">Reason</th>
              <th scope="col">Country</th>
              <th scope="col">From</th>
              <th scope="col">To</th>
              <th scope="col" class="wide">Protocol</th>
              <th scope="col" class="number wide">Bytes</th>
              <th scope="col" class="number">Stands for</th>
            </tr>
          </thead>
          <tbody>
            {stream.rows.map(({ id, event }) => (
              <tr key={id}>
                <td>{time(event)}</td>
                <td>
                  <span class={`dot ${event.verdict}`} aria-hidden="true" /> {event.verdict === "drop" ? "dropped" : "would drop"}
                </td>
                <td>{words(event.reason)}</td>
                <td>{event.class ?? "–"}</td>
                <td><code>{end(event.source, event.source_port)}</code></td>
                <td><code>{end(event.destination, event.destination_port)}</code></td>
                <td class="wide">{event.protocol === undefined ? "–" : protocol(event.protocol)}</td>
                <td class="number wide">{count(event.frame_bytes)}</td>
                <td class="number">{count(event.stands_for)}</td>
              </tr>
            ))}
            {stream.rows.length === 0 && (
              <tr>
                <td colSpan={9} class="empty">{stream.known ? "Nothing was denied since the daemon was started." : "Not known yet."}</td>
              </tr>
            )}
          </tbody>
        </table>
      </div>
    </section>
  );
}
