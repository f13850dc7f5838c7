import { select } from "d3-selection";
import { zoom, type ZoomBehavior, zoomIdentity } from "d3-zoom";
import { scaleThreshold } from "d3-scale";
import { memo } from "preact/compat";
import { useEffect, useRef, useState } from "preact/hooks";
import { get, mapUrl, type WorldMap } from "./api.ts";
import { compact, count } from "./format.ts";
import { decades } from "./model.ts";

export const CLASSES = 6;

interface Props {
  /** Denied packets by country. */
  values: Map<string, number>;
  name: (code: string) => string;
  highlighted: string | null;
  onPoint: (code: string | null) => void;
  onChoose: (code: string) => void;
}

export function WorldMapView({ values, name, highlighted, onPoint, onChoose }: Props) {
  const [map, setMap] = useState<WorldMap | null>(null);
  const [fault, setFault] = useState<string | null>(null);
  const svg = useRef<SVGSVGElement>(null);
  const land = useRef<SVGGElement>(null);
  const behaviour = useRef<ZoomBehavior<SVGSVGElement, unknown> | null>(null);

  useEffect(() => {
    get<WorldMap>(mapUrl).then(setMap, (error: Error) => setFault(error.message));
  }, []);

  useEffect(() => {
    if (!map || !svg.current) return;
    const zoomed = zoom<SVGSVGElement, unknown>()
      .scaleExtent([1, 12])
      .translateExtent([[0, 0], [map.width, map.height]])
      // The page scrolls with wheel and finger; the map moves with a key held, two fingers, or once it is zoomed.
      .filter((event: MouseEvent | TouchEvent) => {
        const scale = svg.current ? currentScale(svg.current) : 1;
        if (event.type === "wheel") return (event as WheelEvent).ctrlKey || (event as WheelEvent).metaKey;
        if ("touches" in event) return event.touches.length > 1 || scale > 1;
        return !(event as MouseEvent).button;
      })
      .on("zoom", (event) => {
        land.current?.setAttribute("transform", event.transform.toString());
        land.current?.style.setProperty("--scale", String(event.transform.k));
      });
    behaviour.current = zoomed;
    select(svg.current).call(zoomed).on("dblclick.zoom", null);
  }, [map]);

  const scaleBy = (factor: number) => {
    if (svg.current && behaviour.current) behaviour.current.scaleBy(select(svg.current), factor);
  };
  const reset = () => {
    if (svg.current && behaviour.current) behaviour.current.transform(select(svg.current), zoomIdentity);
  };

  const largest = Math.max(0, ...values.values());
  const limits = decades(largest, CLASSES);
  const scale = scaleThreshold<number, number>().domain(limits.slice(1)).range(limits.map((_, index) => index + 1));
  return (
    <div class="map">
      {fault !== null && <p class="fault">The map cannot be shown: {fault}. The table tells the same.</p>}
      {map && (
        <svg
          ref={svg}
          viewBox={`0 0 ${map.width} ${map.height}`}
          role="img"
          aria-label="World map, coloured by denied packets; the table of countries tells the same in numbers"
          onPointerLeave={() => onPoint(null)}
        >
          <g ref={land}>
            {Object.entries(map.countries).map(([code, shape]) => {
              const value = values.get(code) ?? 0;
              return (
                <Country
                  key={code}
                  code={code}
                  path={shape.path}
                  x={shape.x}
                  y={shape.y}
                  dot={shape.dot === true}
                  level={value > 0 ? scale(value) : 0}
                  title={`${name(code)}: ${count(value)} denied`}
                  isHigh={highlighted === code}
                  onPoint={onPoint}
                  onChoose={onChoose}
                />
              );
            })}
          </g>
        </svg>
      )}
      <div class="zoom" role="group" aria-label="Zoom of the map">
        <button type="button" onClick={() => scaleBy(1.6)} aria-label="Zoom in">+</button>
        <button type="button" onClick={() => scaleBy(1 / 1.6)} aria-label="Zoom out">−</button>
        <button type="button" onClick={reset} aria-label="Whole world">⤢</button>
      </div>
      <ol class="legend" aria-label="Colours of the map, denied packets">
        <li class="level-0">0</li>
        {limits.map((from, index) => (
          <li key={index} class={`level-${index + 1}`}>
            {index === 0 ? `1–${compact((limits[1] ?? 10) - 1)}` : `${compact(from)}+`}
          </li>
        ))}
      </ol>
    </div>
  );
}

function currentScale(svg: SVGSVGElement): number {
  const own = svg as SVGSVGElement & { __zoom?: { k: number } };
  return own.__zoom?.k ?? 1;
}

interface CountryProps {
  code: string;
  path: string;
  x: number;
  y: number;
  dot: boolean;
  level: number;
  title: string;
  isHigh: boolean;
  onPoint: (code: string | null) => void;
  onChoose: (code: string) => void;
}

const Country = memo(function Country(it: CountryProps) {
  const looks = `land level-${it.level}${it.isHigh ? " high" : ""}`;
  const hear = {
    onPointerEnter: () => it.onPoint(it.code),
    onClick: () => it.onChoose(it.code),
  };
  return (
    <g class={looks} data-country={it.code} data-level={it.level} {...hear}>
      <title>{it.title}</title>
      {it.path !== "" && <path d={it.path} />}
      {it.dot && <circle cx={it.x} cy={it.y} r="2.6" />}
    </g>
  );
});
