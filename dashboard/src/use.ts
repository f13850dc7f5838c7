// Where the numbers come from, as hooks.

import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { type About, type Batch, type Event, Fault, get, type History, type State } from "./api.ts";
import { Live } from "./model.ts";

const BEAT_MS = 1_000;
/** In a tab that nobody sees. */
const HIDDEN_BEAT_MS = 10_000;
const KEPT_EVENTS = 100;
/** Between two tries to follow the events, when the daemon has refused. */
const REFUSED_MS = 5_000;

export interface Connection {
  lost: string | null;
  /** Since when, in milliseconds since 1970. */
  since: number;
}

/** The state each second; `live` is one object that goes on, `tick` changes with it. */
export function useLive(): { live: Live; tick: number; connection: Connection } {
  const live = useRef(new Live()).current;
  const [tick, setTick] = useState(0);
  const [connection, setConnection] = useState<Connection>({ lost: null, since: Date.now() });
  useEffect(() => {
    let timer = 0;
    let stopped = false;
    // One question at a time, whoever starts it.
    let busy = false;
    const beat = async () => {
      busy = true;
      const began = Date.now();
      try {
        const state = await get<State>("/api/v1/state");
        if (stopped) return;
        live.see(state);
        setTick((it) => it + 1);
        setConnection((it) => (it.lost === null ? it : { lost: null, since: Date.now() }));
      } catch (error) {
        if (stopped) return;
        const lost = error instanceof Fault ? error.message : "this page has a fault";
        setConnection((it) => (it.lost === null ? { lost, since: Date.now() } : { ...it, lost }));
      }
      busy = false;
      const pause = document.hidden ? HIDDEN_BEAT_MS : BEAT_MS;
      timer = window.setTimeout(beat, Math.max(100, pause - (Date.now() - began)));
    };
    const seen = () => {
      if (document.hidden || busy) return;
      clearTimeout(timer);
      void beat();
    };
    void beat();
    document.addEventListener("visibilitychange", seen);
    return () => {
      stopped = true;
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", seen);
    };
  }, []);
  return { live, tick, connection };
}

export function useAbout(): About | null {
  const [about, setAbout] = useState<About | null>(null);
  useEffect(() => {
    let timer = 0;
    const ask = () =>
      get<About>("/api/v1/about").then(setAbout, () => {
        timer = window.setTimeout(ask, 5_000);
      });
    void ask();
    return () => clearTimeout(timer);
  }, []);
  return about;
}

interface Answered {
  /** What was asked for. */
  about: string;
  history: History | null;
  fault: string | null;
}

/**
 * A history by its address, asked anew every `every` milliseconds while `path` is the same. `about` says what it is
 * of and stays the same while `path` goes on with the time: an answer about something else is none.
 */
export function useHistory(path: string | null, about: string, every: number | null): { history: History | null; fault: string | null } {
  const [answered, setAnswered] = useState<Answered | null>(null);
  useEffect(() => {
    if (path === null) return;
    let timer = 0;
    let stopped = false;
    const ask = async () => {
      try {
        const history = await get<History>(path);
        if (stopped) return;
        setAnswered({ about, history, fault: null });
      } catch (error) {
        if (stopped) return;
        const fault = error instanceof Error ? error.message : String(error);
        setAnswered((it) => ({ about, history: it?.about === about ? it.history : null, fault }));
      }
      const pause = every ?? 0;
      if (pause > 0) timer = window.setTimeout(ask, document.hidden ? pause * 6 : pause);
    };
    void ask();
    return () => {
      stopped = true;
      clearTimeout(timer);
    };
  }, [path, about, every]);
  const isThis = answered !== null && path !== null && answered.about === about;
  return { history: isThis ? answered.history : null, fault: isThis ? answered.fault : null };
}

export interface Seen {
  id: number;
  event: Event;
}

export interface Stream {
  rows: Seen[];
  /** Events that came and are not shown. */
  omitted: number;
  open: boolean;
  /** Whether what is kept has come, be it nothing. */
  known: boolean;
}

/** The newest events first; nothing is asked for while `paused`. */
export function useEvents(paused: boolean): Stream {
  const [stream, setStream] = useState<Stream>({ rows: [], omitted: 0, open: false, known: false });
  const next = useRef(0);
  // Before what is said to stand still is painted: a batch that comes in between would still move it.
  useLayoutEffect(() => {
    if (paused) return;
    let source: EventSource;
    let timer = 0;
    const follow = () => {
      let first = true;
      source = new EventSource("/api/v1/events");
      source.onopen = () => {
        first = true;
        setStream((it) => ({ ...it, open: true }));
      };
      source.onerror = () => {
        setStream((it) => ({ ...it, open: false }));
        // A browser tries a line that broke again, and not one that was refused.
        if (source.readyState === EventSource.CLOSED) timer = window.setTimeout(follow, REFUSED_MS);
      };
      source.onmessage = (message: MessageEvent<string>) => {
        const batch = JSON.parse(message.data) as Batch;
        const fresh = batch.events.map((event) => ({ id: next.current++, event })).reverse();
        const begins = first;
        first = false;
        setStream((it) => ({
          open: true,
          known: true,
          // A stream begins with what is kept, also after a pause: nothing stands there twice.
          rows: (begins ? fresh : [...fresh, ...it.rows]).slice(0, KEPT_EVENTS),
          omitted: (begins ? 0 : it.omitted) + batch.omitted + batch.missed,
        }));
      };
    };
    follow();
    return () => {
      clearTimeout(timer);
      source.close();
    };
  }, [paused]);
  return stream;
}
