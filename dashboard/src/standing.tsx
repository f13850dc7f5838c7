import type { ComponentChildren } from "preact";
import type { State } from "./api.ts";
import { bytes, count, day, moment, span } from "./format.ts";

export function Standing({ state }: { state: State | null }) {
  if (!state) return null;
  const { status, standing } = state;
  const now = state.unix_ms / 1000;
  const { database, replies, history } = status;
  const open = replies?.open;
  return (
    <section class="card" aria-labelledby="standing-title">
      <div class="head">
        <h2 id="standing-title">
          Policy and database <small>in force since {status.published === null ? "an unknown time" : moment(status.published)}</small>
        </h2>
      </div>
      <dl class="standing">
        <Fact name="Allowed countries">{status.allowed_countries?.join(", ") || "none"}</Fact>
        <Fact name="Every other country">{status.default_action ?? "–"}</Fact>
        <Fact name="Runtime rules">{count(status.runtime_rules ?? 0)}</Fact>
        <Fact name="Bans">{count(status.bans)}</Fact>
        <Fact name="Answers to own connections">
          {replies?.enabled ? `let in${open ? `, ${count(open.tcp + open.udp + open.icmp)} open` : ""}` : "denied"}
        </Fact>
        <Fact name="Policy SHA-256"><code class="digest">{standing.policy_sha256}</code></Fact>
        {database && (
          <>
            <Fact name="Database">{database.source}</Fact>
            <Fact name="Edition">
              {database.built === null ? "of unknown age" : `${day(database.built)}, ${span(now - database.built)} old`}
              {database.held_since !== null && `, held since ${moment(database.held_since)}`}
            </Fact>
            <Fact name="Networks">
              {count(database.networks_v4)} IPv4, {count(database.networks_v6)} IPv6
            </Fact>
            <Fact name="Database SHA-256"><code class="digest">{standing.database_sha256}</code></Fact>
          </>
        )}
        <Fact name="Memory">
          {bytes(status.kernel_bytes ?? 0)} in the kernel, {bytes(status.table_bytes ?? 0)} of it the table
        </Fact>
        <Fact name="History">
          {history ? (history.fault ?? `${bytes(history.bytes)} of ${bytes(history.max_bytes)}`) : "off"}
        </Fact>
        <Fact name="Daemon">
          {status.version}, up {span(status.uptime_seconds ?? 0)}
        </Fact>
      </dl>
    </section>
  );
}

function Fact({ name, children }: { name: string; children: ComponentChildren }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}
