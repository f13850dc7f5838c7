// uPlot as a component: it keeps the size of its place and the colours of the page.

import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import { compact, count } from "./format.ts";
import { colour, onColours } from "./theme.ts";

export interface Series {
  label: string;
  /** A variable of the style sheet. */
  colour: string;
  fill?: boolean;
  dash?: number[];
}

interface Props {
  data: uPlot.AlignedData;
  series: Series[];
  height: number;
  /** What a reader of screens is told. */
  label: string;
  /** Numbers that belong to a step and not to a moment are drawn as steps. */
  stepped?: boolean;
  /** As in 12.5, or in whole packets. */
  show?: (value: number) => string;
  /** A range of seconds was drawn with the pointer. */
  onZoom?: (since: number, until: number) => void;
  range?: [number, number];
}

const FONT = '12px system-ui, "Segoe UI", Roboto, "Liberation Sans", sans-serif';

export function Plot(props: Props) {
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const latest = useRef(props);
  latest.current = props;

  useEffect(() => {
    const box = place.current;
    if (!box) return;
    const make = () => {
      plot.current?.destroy();
      const now = latest.current;
      plot.current = new uPlot(options(now, box.clientWidth, latest), now.data, box);
    };
    make();
    const sized = new ResizeObserver(() => {
      plot.current?.setSize({ width: box.clientWidth, height: latest.current.height });
    });
    sized.observe(box);
    const quiet = onColours(make);
    return () => {
      sized.disconnect();
      quiet();
      plot.current?.destroy();
      plot.current = null;
    };
  }, [props.series.map((it) => it.label).join(), props.stepped, props.height]);

  useEffect(() => {
    plot.current?.setData(props.data);
  }, [props.data]);

  return <div class="plot" ref={place} role="img" aria-label={props.label} />;
}

function options(props: Props, width: number, latest: { current: Props }): uPlot.Options {
  const [ink, line] = [colour("quiet"), colour("grid")];
  const show = props.show ?? count;
  const axis = { stroke: ink, font: FONT, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1, size: 4 } };
  return {
    width,
    height: props.height,
    legend: { live: true },
    cursor: { y: false, drag: { x: props.onZoom !== undefined, y: false, setScale: false }, points: { size: 7 } },
    scales: {
      x: { time: true, range: (_, from, to) => latest.current.range ?? [from, to] },
      y: { range: (_, __, to) => [0, to > 0 ? to * 1.08 : 1] },
    },
    axes: [
      { ...axis, size: 34, space: 70, values: times },
      { ...axis, size: 56, values: (_, ticks) => ticks.map(compact) },
    ],
    series: [
      { label: "Time", value: (_, unix) => (unix == null ? "–" : new Date(unix * 1000).toLocaleString("sv-SE").slice(5)) },
      ...props.series.map((it) => {
        const stroke = colour(it.colour);
        return {
          label: it.label,
          stroke,
          width: 2,
          ...(it.dash ? { dash: it.dash } : {}),
          ...(it.fill ? { fill: stroke.replace("rgb(", "rgba(").replace(")", ", 0.14)") } : {}),
          ...(props.stepped && uPlot.paths.stepped ? { paths: uPlot.paths.stepped({ align: 1 }) } : {}),
          points: { show: false },
          value: (_: uPlot, value: number | null) => (value == null ? "–" : show(value)),
        };
      }),
    ],
    hooks: {
      setSelect: [
        (self) => {
          const { left, width: wide } = self.select;
          if (wide < 4) return;
          const [since, until] = [self.posToVal(left, "x"), self.posToVal(left + wide, "x")];
          self.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
          latest.current.onZoom?.(since, until);
        },
      ],
    },
  };
}

const two = (value: number): string => String(value).padStart(2, "0");

/** The day where a new one begins, and the time elsewhere. */
function times(_: uPlot, ticks: number[], __: number, ___: number, step: number): string[] {
  let before = "";
  return ticks.map((unix) => {
    const date = new Date(unix * 1000);
    const day = `${two(date.getMonth() + 1)}-${two(date.getDate())}`;
    const clock = `${two(date.getHours())}:${two(date.getMinutes())}`;
    const isNew = day !== before && before !== "";
    before = day;
    if (step >= 86_400) return day;
    if (step < 60) return `${clock}:${two(date.getSeconds())}`;
    return isNew ? `${day} ${clock}` : clock;
  });
}
