import type { About, State } from "./api.ts";
import { clock, day, span } from "./format.ts";
import { applyTheme, storedTheme, type Theme } from "./theme.ts";
import type { Connection } from "./use.ts";
import { useState } from "preact/hooks";

export function Header({ state, about, connection }: { state: State | null; about: About | null; connection: Connection }) {
  const status = state?.status;
  const database = status?.database;
  const now = state ? state.unix_ms / 1000 : 0;
  return (
    <header class="bar">
      <h1>
        <Mark /> cerco
      </h1>
      {status && (
        <span id="mode" class={`badge ${status.mode}`}>
          {status.mode === "enforce" ? "Enforcing" : "Observing"}
        </span>
      )}
      {status?.trial && (
        <span class="badge trial" title={status.trial.change ?? ""}>
          On trial: undone in {span(status.trial.remaining_seconds)}
        </span>
      )}
      <dl class="facts">
        {status && (
          <div>
            <dt>Interfaces</dt>
            <dd>
              {status.interfaces.length === 0 && "none"}
              {status.interfaces.map((it, index) => (
                <span key={it.interface} title={it.fallback_reason ?? ""}>
                  {index > 0 && ", "}
                  {it.interface} <small>{it.attach_mode}</small>
                </span>
              ))}
            </dd>
          </div>
        )}
        {database && (
          <div>
            <dt>Database</dt>
            <dd>
              {database.built === null ? "of unknown age" : `${day(database.built)}, ${span(now - database.built)} old`}
            </dd>
          </div>
        )}
        {state && (
          <div>
            <dt>Policy</dt>
            <dd>
              <code title={state.standing.policy_sha256}>{state.standing.policy_sha256.slice(0, 12)}</code>
            </dd>
          </div>
        )}
      </dl>
      <span class={connection.lost === null ? "pulse" : "pulse lost"}>
        {connection.lost !== null ? "Not connected" : state ? `Live, ${clock(now)}` : "Connecting"}
      </span>
      <ThemeChoice />
      {about?.token && <SignOut />}
    </header>
  );
}

function Mark() {
  return (
    <svg viewBox="0 0 32 32" width="26" height="26" aria-hidden="true">
      <path d="M4 28V15a12 12 0 0 1 24 0v13h-5V15a7 7 0 0 0-14 0v13z" fill="currentColor" />
      <path d="M14 14h4v14h-4z" class="bolt" />
    </svg>
  );
}

function ThemeChoice() {
  const [theme, setTheme] = useState<Theme>(storedTheme());
  const choose = (next: Theme) => {
    applyTheme(next);
    setTheme(next);
  };
  const choices: [Theme, string][] = [["auto", "Auto"], ["light", "Light"], ["dark", "Dark"]];
  return (
    <div class="choice" role="group" aria-label="Colours">
      {choices.map(([value, name]) => (
        <button key={value} type="button" aria-pressed={theme === value} onClick={() => choose(value)}>
          {name}
        </button>
      ))}
    </div>
  );
}

function SignOut() {
  const leave = async () => {
    await fetch("/logout", { method: "POST", credentials: "same-origin", redirect: "manual" }).catch(() => null);
    location.assign("/login");
  };
  return (
    <button type="button" onClick={() => void leave()}>
      Sign out
    </button>
  );
}
