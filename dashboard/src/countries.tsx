import { useMemo, useState } from "preact/hooks";
import type { CountryTotal, Line } from "./api.ts";
import { count, span } from "./format.ts";
import { denied } from "./model.ts";
import { WorldMapView } from "./map.tsx";

export type Over = "minute" | "start" | "range";

interface Props {
  over: Over;
  onOver: (over: Over) => void;
  /** Null: not known yet. */
  lines: Line[] | null;
  /** How long the page has counted, where that is no minute. */
  uneven: number | null;
  countries: CountryTotal[];
  name: (code: string) => string;
  chosen: string | null;
  onChoose: (code: string | null) => void;
}

const NO_LINES: Line[] = [];

type Column = "name" | "drop" | "would" | "pass";

const OVERS: [Over, string][] = [["minute", "Last minute"], ["start", "Since start"], ["range", "Chosen range"]];
const COLUMNS: [Column, string][] = [["name", "Country"], ["drop", "Dropped"], ["would", "Would drop"], ["pass", "Passed"]];

export function Countries(props: Props) {
  const { name, chosen, onChoose } = props;
  const lines = props.lines ?? NO_LINES;
  const [column, setColumn] = useState<Column>("drop");
  const [upwards, setUpwards] = useState(false);
  const [pointed, setPointed] = useState<string | null>(null);
  const policies = new Map(props.countries.map((it) => [it.class, it.action]));
  const values = useMemo(() => new Map(lines.map((it) => [it.name, denied(it)])), [lines]);
  const sorted = useMemo(() => {
    const key = (it: Line): number | string => {
      if (column === "name") return name(it.name);
      if (column === "drop") return denied(it);
      return column === "would" ? it.would_drop_packets : it.passed_packets;
    };
    const rows = lines.filter((it) => denied(it) + it.passed_packets > 0);
    rows.sort((a, b) => {
      const [left, right] = [key(a), key(b)];
      const order = typeof left === "string" ? left.localeCompare(String(right)) : left - Number(right);
      return (upwards ? order : -order) || a.name.localeCompare(b.name);
    });
    return rows;
  }, [lines, column, upwards, name]);
  const sort = (next: Column) => {
    setUpwards(next === column ? !upwards : next === "name");
    setColumn(next);
  };
  const choose = (code: string) => onChoose(code === chosen ? null : code);
  return (
    <section class="card world" aria-labelledby="world-title">
      <div class="head">
        <h2 id="world-title">
          Countries <small>by denied packets{props.uneven !== null && (props.uneven < 60 ? `, ${span(props.uneven)} so far` : `, the last ${span(props.uneven)}`)}</small>
        </h2>
        <div class="choice" role="group" aria-label="Time of the map and its table">
          {OVERS.map(([value, words]) => (
            <button key={value} type="button" aria-pressed={props.over === value} onClick={() => props.onOver(value)}>
              {words}
            </button>
          ))}
        </div>
      </div>
      <div class="pair">
        <WorldMapView values={values} name={name} highlighted={pointed ?? chosen} onPoint={setPointed} onChoose={choose} />
        <div class="scroll" tabIndex={0} role="group" aria-label="Table of countries">
          <table id="countries">
            <thead>
              <tr>
                {COLUMNS.map(([value, words]) => (
                  <th
                    key={value}
                    scope="col"
                    class={value === "name" ? "" : "number"}
                    aria-sort={column === value ? (upwards ? "ascending" : "descending") : "none"}
                  >
                    <button type="button" class="sort" onClick={() => sort(value)}>
                      {words}
                      <span aria-hidden="true">{column === value ? (upwards ? " ▲" : " ▼") : ""}</span>
                    </button>
                  </th>
                ))}
                <th scope="col">Policy</th>
              </tr>
            </thead>
            <tbody>
              {sorted.map((it) => (
                <tr
                  key={it.name}
                  data-class={it.name}
                  class={pointed === it.name ? "high" : ""}
                  onPointerEnter={() => setPointed(it.name)}
                  onPointerLeave={() => setPointed(null)}
                >
                  <th scope="row">
                    <button
                      type="button"
                      class="row"
                      aria-pressed={chosen === it.name}
                      title="Show the history of this country"
                      onClick={() => choose(it.name)}
                      onFocus={() => setPointed(it.name)}
                      onBlur={() => setPointed(null)}
                    >
                      <code>{it.name.length === 2 ? it.name : "··"}</code> {name(it.name)}
                    </button>
                  </th>
                  <td class="number" data-key="drop">{count(it.dropped_packets)}</td>
                  <td class="number" data-key="would_drop">{count(it.would_drop_packets)}</td>
                  <td class="number" data-key="pass">{count(it.passed_packets)}</td>
                  <td>{policies.get(it.name) ?? "–"}</td>
                </tr>
              ))}
              {sorted.length === 0 && (
                <tr>
                  <td colSpan={5} class="empty">{props.lines ? "No packet in this time." : "Not known yet."}</td>
                </tr>
              )}
            </tbody>
          </table>
        </div>
      </div>
    </section>
  );
}
