import type { State, Verdict } from "./api.ts";
import { bytes, count, words } from "./format.ts";

const VERDICTS: Record<Verdict, string> = { drop: "dropped", would_drop: "would drop", pass: "passed" };
const ORDER: Verdict[] = ["drop", "would_drop", "pass"];

export function Reasons({ state }: { state: State | null }) {
  const lines = (state?.status.totals ?? [])
    .filter((it) => it.packets > 0)
    .sort((a, b) => ORDER.indexOf(a.verdict) - ORDER.indexOf(b.verdict) || b.packets - a.packets);
  const largest = Math.max(1, ...lines.map((it) => it.packets));
  return (
    <section class="card" aria-labelledby="reasons-title">
      <div class="head">
        <h2 id="reasons-title">
          Reasons <small>since the gate was put up</small>
        </h2>
      </div>
      <div class="scroll tall" tabIndex={0} role="group" aria-label="Reasons">
        <table id="reasons">
          <thead>
            <tr>
              <th scope="col">Reason</th>
              <th scope="col">Verdict</th>
              <th scope="col" class="number">Packets</th>
              <th scope="col" class="number wide">Bytes</th>
            </tr>
          </thead>
          <tbody>
            {lines.map((it) => (
              <tr key={`${it.reason} ${it.verdict}`} data-reason={it.reason} data-verdict={it.verdict}>
                <th scope="row">{words(it.reason)}</th>
                <td>
                  <span class={`dot ${it.verdict}`} aria-hidden="true" /> {VERDICTS[it.verdict]}
                </td>
                <td class="number bar-cell" data-key="packets">
                  {count(it.packets)}
                  <span class={`bar-fill ${it.verdict}`} style={{ width: `${(it.packets / largest) * 100}%` }} />
                </td>
                <td class="number wide">{bytes(it.bytes)}</td>
              </tr>
            ))}
            {lines.length === 0 && (
              <tr>
                <td colSpan={4} class="empty">Nothing has come in yet.</td>
              </tr>
            )}
          </tbody>
        </table>
      </div>
    </section>
  );
}
