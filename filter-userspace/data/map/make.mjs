// Draws map.json from Natural Earth's countries: `npm ci && npm run make`. See README.md.
import { readFileSync, writeFileSync } from "node:fs";
import { geoArea, geoEqualEarth, geoPath } from "d3-geo";
import iso from "i18n-iso-countries";
import { feature } from "topojson-client";
import { presimplify, quantile, simplify } from "topojson-simplify";

const WIDTH = 960;
// Cut at 169 degrees west, through water alone.
const ROTATION = [-11, 0];
// The part of all points that stays: what is left of a coast is finer than a pixel on a large screen.
const KEPT = 0.15;
// Square units below which a country gets a dot as well, which can be seen and be hit.
const SMALL = 9;

// Countries by ISO 3166-1 whose ground Natural Earth counts to another country, or leaves out: a dot at
// latitude and longitude. Antarctica would take a fifth of the picture.
const DOTS = {
  AQ: [-62, 0], BQ: [12.2, -68.3], BV: [-54.4, 3.4], CC: [-12.2, 96.8], CX: [-10.5, 105.6],
  GF: [4, -53], GI: [36.1, -5.3], GP: [16.2, -61.6], MQ: [14.6, -61], RE: [-21.1, 55.5],
  SJ: [78, 16], TK: [-9.2, -171.8], TV: [-8.5, 179.2], UM: [19.3, 166.6], YT: [-12.8, 45.2],
};

const read = (name) => JSON.parse(readFileSync(new URL(`node_modules/${name}`, import.meta.url)));

// Natural Earth has no ISO number for these.
const codeOf = ({ id, properties }) => (properties.name === "Kosovo" ? "XK" : iso.numericToAlpha2(id));

const atlas = read("world-atlas/countries-50m.json");
const weighed = presimplify(atlas);
const simple = simplify(weighed, quantile(weighed, KEPT));

// The polygons of each country; some have more features than one.
const polygons = (topology) => {
  const byCode = new Map();
  for (const it of feature(topology, topology.objects.countries).features) {
    const code = codeOf(it);
    if (!code || code === "AQ" || !it.geometry) continue;
    const { type, coordinates } = it.geometry;
    byCode.set(code, [...(byCode.get(code) ?? []), ...(type === "Polygon" ? [coordinates] : coordinates)]);
  }
  return byCode;
};
const shape = (coordinates) => ({ type: "MultiPolygon", coordinates });
const largest = (parts) =>
  parts
    .map((coordinates) => ({ type: "Polygon", coordinates }))
    .reduce((best, part) => (geoArea(part) > geoArea(best) ? part : best));

const whole = polygons(atlas);
const simplified = polygons(simple);
const world = shape([...whole.values()].flat());
const projection = geoEqualEarth().rotate(ROTATION).fitWidth(WIDTH, world);
const path = geoPath(projection).digits(1);
const [, [, bottom]] = path.bounds(world);

const round = (number) => Math.round(number * 10) / 10;
const countries = {};
for (const [code, parts] of whole) {
  // Simplified to nothing, it is drawn as it is.
  const drawn = path(shape(simplified.get(code) ?? [])) || path(shape(parts));
  const main = largest(parts);
  const entry = { path: drawn };
  // Of the main land: a country with islands far away has its middle at sea.
  [entry.x, entry.y] = path.centroid(main).map(round);
  if (path.area(main) < SMALL) entry.dot = true;
  countries[code] = entry;
}
for (const [code, [latitude, longitude]] of Object.entries(DOTS)) {
  if (countries[code]) throw new Error(`${code} is drawn already`);
  const [x, y] = projection([longitude, latitude]).map(round);
  countries[code] = { path: "", x, y, dot: true };
}
const missing = Object.keys(iso.getAlpha2Codes()).filter((code) => !countries[code]);
if (missing.length) throw new Error(`nothing is drawn for ${missing}`);

const codes = Object.keys(countries).sort();
const map = {
  source: "Natural Earth 1:50m, countries (npm package world-atlas 2.0.2), simplified; Equal Earth projection",
  licence: "public domain",
  width: WIDTH,
  height: Math.ceil(bottom) + 4,
  countries: Object.fromEntries(codes.map((code) => [code, countries[code]])),
};
// One country a line, so that a change can be read.
const lines = codes.map((code) => `${JSON.stringify(code)}:${JSON.stringify(countries[code])}`);
const head = JSON.stringify({ ...map, countries: undefined }).slice(0, -1);
writeFileSync(new URL("map.json", import.meta.url), `${head},"countries":{\n${lines.join(",\n")}\n}}\n`);
console.log(`${codes.length} countries, ${map.width} x ${map.height}`);
