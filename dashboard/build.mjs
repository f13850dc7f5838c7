// Makes the bundle that the daemon embeds: `node build.mjs` → dist/. The same sources give the same bytes.
import { createHash } from "node:crypto";
import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const dist = join(here, "dist");
const files = [];

const named = (stem, ending, bytes) => {
  const hash = createHash("sha256").update(bytes).digest("hex").slice(0, 12);
  return `/assets/${stem}-${hash}.${ending}`;
};

// Everything is kept compressed: browsers take it so, and the binary stays small.
const put = async (path, kind, bytes) => {
  const name = `${files.length}.gz`;
  await writeFile(join(dist, name), gzipSync(bytes, { level: 9 }));
  files.push([path, kind, name].join("\t"));
  return path;
};

const licences = async (inputs) => {
  const packages = new Set();
  for (const input of Object.keys(inputs)) {
    const found = input.match(/node_modules\/((?:@[^/]+\/)?[^/]+)\//);
    if (found) packages.add(found[1]);
  }
  const parts = [];
  for (const name of [...packages].sort()) {
    const folder = join(here, "node_modules", name);
    const about = JSON.parse(await readFile(join(folder, "package.json"), "utf8"));
    const file = (await readdir(folder)).find((it) => /^licen[cs]e/i.test(it));
    if (!file) throw new Error(`${name} comes without the text of its licence`);
    const text = await readFile(join(folder, file), "utf8");
    parts.push(`${name} ${about.version} (${about.license})\n\n${text.trim()}\n`);
  }
  return parts.join(`\n${"-".repeat(72)}\n\n`);
};

await mkdir(dist, { recursive: true });
for (const name of await readdir(dist)) {
  if (name !== ".gitignore") await rm(join(dist, name));
}

const map = await readFile(join(here, "../filter-userspace/data/map/map.json"));
const mapUrl = await put(named("map", "json", map), "application/json", map);

const result = await build({
  absWorkingDir: here,
  entryPoints: [{ in: "src/main.tsx", out: "app" }, { in: "src/style.css", out: "style" }],
  outdir: "dist",
  bundle: true,
  write: false,
  metafile: true,
  minify: true,
  format: "esm",
  target: ["es2022"],
  jsx: "automatic",
  jsxImportSource: "preact",
  legalComments: "inline",
  define: { MAP_URL: JSON.stringify(mapUrl) },
  logLevel: "warning",
});
const output = (ending) => result.outputFiles.filter((it) => it.path.endsWith(ending));
const script = output(".js")[0].contents;
const style = output(".css").map((it) => it.text).join("\n");
const scriptUrl = await put(named("app", "js", script), "text/javascript; charset=utf-8", script);
const styleUrl = await put(named("style", "css", style), "text/css; charset=utf-8", style);

const icon = await readFile(join(here, "src/icon.svg"));
const iconUrl = await put(named("icon", "svg", icon), "image/svg+xml", icon);
const page = (await readFile(join(here, "src/index.html"), "utf8"))
  .replaceAll("%STYLE%", styleUrl)
  .replaceAll("%SCRIPT%", scriptUrl)
  .replaceAll("%ICON%", iconUrl);
await put("/", "text/html; charset=utf-8", page);
const text = await licences(result.metafile.inputs);
await put("/licences.txt", "text/plain; charset=utf-8", text);
await writeFile(join(dist, "files.tsv"), `${files.join("\n")}\n`);
const total = script.length + style.length;
console.log(`dashboard: ${files.length} files, ${Math.round(total / 1024)} KiB of script and style`);
