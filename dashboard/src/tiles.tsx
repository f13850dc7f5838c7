import { count, rate } from "./format.ts";
import { type Live, totals } from "./model.ts";

const TILES = [
  ["drop", "Dropped", "denied, and ended at the gate"],
  ["would_drop", "Would drop", "denied, and let pass while observing"],
  ["pass", "Passed", "let in"],
] as const;

export function Tiles({ live }: { live: Live }) {
  const { state } = live;
  const rates = live.rates();
  const sum = state ? totals(state) : null;
  const all = sum ? sum.pass + sum.drop + sum.would_drop : 0;
  return (
    <ul class="tiles">
      {TILES.map(([verdict, name, words]) => (
        <li key={verdict} class={`tile ${verdict}`}>
          <h2>
            {name} <small>{words}</small>
          </h2>
          <p class="rate">
            <strong id={`rate-${verdict}`}>{rates ? rate(rates[verdict]) : "–"}</strong> packets a second
          </p>
          <p class="total">
            <span id={`total-${verdict}`}>{sum ? count(sum[verdict]) : "–"}</span> since the gate was put up
            {sum && all > 0 && <> · {((sum[verdict] / all) * 100).toFixed(1)} %</>}
          </p>
        </li>
      ))}
    </ul>
  );
}
