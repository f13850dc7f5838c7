import { useCallback, useEffect, useMemo, useRef, useState } from "preact/hooks";
import { get, type History } from "./api.ts";
import { Countries, type Over } from "./countries.tsx";
import { Events } from "./events.tsx";
import { clock } from "./format.ts";
import { Header } from "./header.tsx";
import { type Choice, HistoryView, historyPath } from "./history.tsx";
import { LiveChart } from "./livechart.tsx";
import { filled, sinceStart } from "./model.ts";
import { Reasons } from "./reasons.tsx";
import { Changes, Ports, Sources } from "./sampled.tsx";
import { Standing } from "./standing.tsx";
import { Tiles } from "./tiles.tsx";
import { useAbout, useHistory, useLive } from "./use.ts";

/** The history is asked anew this often while its range ends now. */
const HISTORY_MS = 10_000;
const SPECIAL: Record<string, string> = {
  unknown: "Unknown to the database",
  private: "Private addresses",
  trusted: "Trusted prefixes",
  rule_allow: "Allowed by a rule",
  rule_deny: "Denied by a rule",
};

export function Page() {
  const { live, tick, connection } = useLive();
  const about = useAbout();
  const { state } = live;
  const [over, setOver] = useState<Over>("start");
  const [country, setCountry] = useState<string | null>(null);
  const [choice, setChoice] = useState<Choice>({ range: { last: 3600 }, step: "auto" });

  const names = useMemo(() => new Map((about?.countries ?? []).map((it) => [it.code, it.name])), [about]);
  const name = useCallback((code: string) => names.get(code) ?? SPECIAL[code] ?? code, [names]);

  // What ends now is asked for anew with each of its minutes.
  const now = state ? state.unix_ms / 1000 : Date.now() / 1000;
  const isLive = "last" in choice.range;
  const anchor = isLive ? Math.floor(now / 60) * 60 : 0;
  const kept = state?.status.history ?? null;
  const asked = [choice, anchor, state !== null, kept?.minutes_since, kept?.hours_since];
  const every = isLive ? HISTORY_MS : null;
  const wholePath = useMemo(() => (state ? historyPath(choice, anchor || now, null, kept) : null), asked);
  const whole = useHistory(wholePath, JSON.stringify(choice), every);
  // A history of one country knows no other; the whole one is asked on, and is there at once when it is wanted again.
  const ownPath = useMemo(() => (state && country !== null ? historyPath(choice, anchor || now, country, kept) : null), [country, ...asked]);
  const own = useHistory(ownPath, JSON.stringify([choice, country]), every);
  const { history, fault } = country === null ? whole : own;

  const remembered = useRef(false);
  useEffect(() => {
    if (!state || remembered.current) return;
    remembered.current = true;
    const since = Math.floor(state.unix_ms / 1000) - 600;
    get<History>(`/api/v1/history?since=${since}&by=minute`).then((it) => live.remember(filled(it)), () => null);
  }, [state !== null]);

  const minute = live.lastMinute();
  const sums = {
    minute: minute.seconds > 0 ? minute.lines : null,
    start: state ? sinceStart(state.countries) : null,
    range: whole.history?.countries ?? null,
  };
  const warnings = [...(state?.status.warnings ?? []), ...(state?.status.last_reload_error ? [state.status.last_reload_error] : [])];
  const attribution = state?.status.database?.attribution;
  return (
    <>
      <a class="skip" href="#main">Skip to the numbers</a>
      <Header state={state} about={about} connection={connection} />
      <div class="notices" aria-live="polite">
        {connection.lost !== null && (
          <p class="notice lost" id="lost">
            <b>Not connected</b> since {clock(connection.since / 1000)}: {connection.lost}. The gate filters as before; this page goes on by
            itself when the daemon is back.
          </p>
        )}
        {warnings.map((it) => (
          <p key={it} class="notice"><b>Warning:</b> <WithCode text={it} /></p>
        ))}
      </div>
      <main id="main" tabIndex={-1} class={connection.lost === null ? "" : "stale"}>
        <Tiles live={live} />
        <div class="row-live">
          <LiveChart live={live} tick={tick} />
          <Reasons state={state} />
        </div>
        <Countries
          over={over}
          onOver={setOver}
          lines={sums[over]}
          uneven={over === "minute" && (minute.seconds < 59 || minute.seconds >= 65) ? minute.seconds : null}
          countries={state?.countries ?? []}
          name={name}
          chosen={country}
          onChoose={setCountry}
        />
        <HistoryView
          choice={choice}
          onChoice={setChoice}
          history={history}
          fault={fault}
          now={now}
          country={country}
          name={name}
          onCountry={setCountry}
        />
        <div class="row-three">
          <Sources history={history} name={name} />
          <Ports history={history} />
          <Changes history={whole.history} />
        </div>
        <Events />
        <Standing state={state} />
      </main>
      <footer>
        {attribution && <span id="attribution">{attribution}</span>}
        <span>
          Map: <a href="https://www.naturalearthdata.com/" rel="noreferrer noopener">Natural Earth</a>
        </span>
        <a href="/licences.txt">Licences</a>
        <span>cerco {state?.status.version ?? ""} shows and changes nothing; changes are made on the host by <code>cerco</code>.</span>
      </footer>
    </>
  );
}

/** What stands between backticks is to be typed. */
function WithCode({ text }: { text: string }) {
  return <>{text.split("`").map((part, index) => (index % 2 === 1 ? <code key={index}>{part}</code> : part))}</>;
}
