import type { History } from "./api.ts";
import { clock, count, moment } from "./format.ts";

/** In place of what the history has not told; that there is nothing is something else. */
const UNKNOWN = "Not known yet.";

/** Lines of a table; the history has them in the order of the estimate. */
const SHOWN = 25;

export function Sources({ history, name }: { history: History | null; name: (code: string) => string }) {
  const sampled = history?.sampled;
  return (
    <section class="card" aria-labelledby="sources-title">
      <div class="head">
        <h2 id="sources-title">
          Top sources <small>of denied packets, a sample</small>
        </h2>
      </div>
      {sampled && (
        <p class="hint">
          Estimates from {count(sampled.events)} events, {moment(sampled.since)} to {moment(sampled.until)}, which stand for{" "}
          {count(sampled.frames)} packets. At least so many of a source were seen; in the estimate those that were not seen are shared
          out among those seen just before. By it none that is missing here sent more than{" "}
          {count(sampled.sources[SHOWN]?.at_most ?? sampled.other_sources_at_most)}.
          {sampled.distinct_sources !== null && (
            <> {count(sampled.distinct_sources)} different sources (± {(sampled.distinct_error * 100).toFixed(1)} %) are in the sample.</>
          )}
        </p>
      )}
      <div class="scroll" tabIndex={0} role="group" aria-label="Top sources">
        <table id="sources">
          <thead>
            <tr>
              <th scope="col">Source</th>
              <th scope="col">Country</th>
              <th scope="col" class="number">At least</th>
              <th scope="col" class="number">Estimate</th>
            </tr>
          </thead>
          <tbody>
            {(sampled?.sources ?? []).slice(0, SHOWN).map((it) => (
              <tr key={it.source} data-source={it.source}>
                <th scope="row"><code>{it.source}</code></th>
                <td title={name(it.class)}>{it.class}</td>
                <td class="number">{count(it.at_least)}</td>
                <td class="number">{count(it.at_most)}</td>
              </tr>
            ))}
            {(sampled?.sources.length ?? 0) === 0 && (
              <tr>
                <td colSpan={4} class="empty">{sampled ? "None was sampled in this time." : UNKNOWN}</td>
              </tr>
            )}
          </tbody>
        </table>
      </div>
    </section>
  );
}

export function Ports({ history }: { history: History | null }) {
  const sampled = history?.sampled;
  return (
    <section class="card" aria-labelledby="ports-title">
      <div class="head">
        <h2 id="ports-title">
          Ports <small>of denied packets, a sample</small>
        </h2>
      </div>
      <div class="scroll" tabIndex={0} role="group" aria-label="Ports">
        <table>
          <thead>
            <tr>
              <th scope="col">Port</th>
              <th scope="col" class="number">At least</th>
              <th scope="col" class="number">Estimate</th>
            </tr>
          </thead>
          <tbody>
            {(sampled?.ports ?? []).slice(0, SHOWN).map((it) => (
              <tr key={it.port}>
                <th scope="row"><code>{it.port}</code></th>
                <td class="number">{count(it.at_least)}</td>
                <td class="number">{count(it.at_most)}</td>
              </tr>
            ))}
            {(sampled?.ports.length ?? 0) === 0 && (
              <tr>
                <td colSpan={3} class="empty">{sampled ? "None was sampled in this time." : UNKNOWN}</td>
              </tr>
            )}
          </tbody>
        </table>
      </div>
    </section>
  );
}

export function Changes({ history }: { history: History | null }) {
  const changes = [...(history?.changes ?? [])].reverse();
  return (
    <section class="card" aria-labelledby="changes-title">
      <div class="head">
        <h2 id="changes-title">
          Changes <small>who did what in the chosen range</small>
        </h2>
      </div>
      <div class="scroll" tabIndex={0} role="group" aria-label="Changes, the newest first">
        <ol class="changes">
          {changes.map((it) => (
            <li key={`${it.unix} ${it.what}`}>
              <time dateTime={new Date(it.unix * 1000).toISOString()}>{moment(it.unix).slice(0, 10)} {clock(it.unix)}</time>
              <span class="kind">{it.kind}</span> {it.what} <small>by {it.who}</small>
            </li>
          ))}
          {changes.length === 0 && <li class="empty">{history ? "Nothing was changed in this time." : UNKNOWN}</li>}
        </ol>
      </div>
    </section>
  );
}
