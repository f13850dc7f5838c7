// Runs src/*.test.ts: bundles each and gives it to Node's own test runner.
import { spawnSync } from "node:child_process";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const tests = (await readdir(join(here, "src"))).filter((it) => it.endsWith(".test.ts"));
const folder = await mkdtemp(join(tmpdir(), "cerco-dashboard-"));
try {
  await build({
    absWorkingDir: here,
    entryPoints: tests.map((it) => join("src", it)),
    outdir: folder,
    outExtension: { ".js": ".mjs" },
    bundle: true,
    platform: "node",
    format: "esm",
    define: { MAP_URL: '"/map"' },
    logLevel: "warning",
  });
  const files = (await readdir(folder)).map((it) => join(folder, it));
  const { status } = spawnSync(process.execPath, ["--test", "--test-reporter=dot", ...files], {
    stdio: "inherit",
    env: { ...process.env, TZ: "UTC" },
  });
  process.exitCode = status ?? 1;
} finally {
  await rm(folder, { recursive: true });
}
