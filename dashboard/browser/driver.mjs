// Steers a headless Chromium for the tests: a command as a line of JSON on standard input, an answer as a line on
// standard output. It ends with its input.
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { AnsiUp } from "ansi_up";
import puppeteer from "puppeteer-core";

const [chromium, profile] = process.argv.slice(2);
const axePath = createRequire(import.meta.url).resolve("axe-core/axe.min.js");
const axe = await readFile(axePath, "utf8");

const browser = await puppeteer.launch({
  executablePath: chromium,
  userDataDir: profile,
  headless: true,
  // Ends with this process, however that ends.
  pipe: true,
  acceptInsecureCerts: true,
  args: [
    // Root has no other way, and the pages are our own.
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
    "--font-render-hinting=none",
    "--disable-lcd-text",
    "--force-color-profile=srgb",
  ],
});
const page = await browser.newPage();
let origin = "";
let faults = [];
page.on("console", (message) => {
  if (["error", "warn", "warning", "assert"].includes(message.type())) {
    faults.push(`console: ${message.text()} ${message.location().url ?? ""}`);
  }
});
page.on("pageerror", (error) => faults.push(`page: ${error}`));
page.on("request", (request) => {
  const url = request.url();
  if (!url.startsWith("data:") && new URL(url).origin !== origin) faults.push(`foreign: ${url}`);
});

const commands = {
  async open({ url, width, height, dark, touch }) {
    origin = new URL(url).origin;
    await page.setViewport({ width, height, deviceScaleFactor: 1, isMobile: touch === true, hasTouch: touch === true });
    await page.emulateMediaFeatures([
      { name: "prefers-color-scheme", value: dark ? "dark" : "light" },
      { name: "prefers-reduced-motion", value: "reduce" },
    ]);
    const answer = await page.goto(url, { waitUntil: "load", timeout: 30_000 });
    return answer === null ? null : answer.status();
  },
  async size({ width, height }) {
    await page.setViewport({ width, height, deviceScaleFactor: 1 });
  },
  async dark({ dark }) {
    await page.emulateMediaFeatures([
      { name: "prefers-color-scheme", value: dark ? "dark" : "light" },
      { name: "prefers-reduced-motion", value: "reduce" },
    ]);
  },
  eval: ({ js }) => page.evaluate(js),
  async wait({ js, seconds }) {
    await page.waitForFunction(js, { timeout: seconds * 1000, polling: 100 });
    return page.evaluate(js);
  },
  press: ({ key }) => page.keyboard.press(key),
  type: ({ text }) => page.keyboard.type(text),
  click: ({ selector }) => page.click(selector),
  async drag({ selector, from, to }) {
    const element = await page.$(selector);
    await element.scrollIntoView();
    const box = await element.boundingBox();
    const y = box.y + box.height / 2;
    await page.mouse.move(box.x + box.width * from, y);
    await page.mouse.down();
    await page.mouse.move(box.x + box.width * to, y, { steps: 5 });
    await page.mouse.up();
  },
  async axe() {
    await page.evaluate(axe);
    const found = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
    return found.violations.map((it) => ({
      id: it.id,
      help: it.help,
      nodes: it.nodes.map((node) => `${node.target.join(" ")}: ${node.failureSummary}`),
    }));
  },
  screenshot: async ({ path, full, clip }) => {
    await page.screenshot({ path, fullPage: full === true, ...(clip ? { clip } : {}) });
  },
  // Draws what `tmux capture-pane -e` printed, with its colours.
  async terminal({ text, path }) {
    const painter = new AnsiUp();
    // The font may have no Braille, and another one's is of another width.
    const cells = (html) => html.replace(/[\u2800-\u28ff]/g, (it) => `<i>${it}</i>`);
    const style = `body { margin: 0; display: inline-block; background: #10151b; color: #dfe6ec; padding: 14px 16px }
      pre { margin: 0; font: 15px/19px "DejaVu Sans Mono", monospace }
      i { display: inline-block; width: 1ch; height: 19px; overflow: hidden; font-style: normal; vertical-align: bottom }`;
    const html = cells(painter.ansi_to_html(text.replace(/\n+$/, "")));
    // A page of its own: the policy of the dashboard allows no style in the text.
    const screen = await browser.newPage();
    await screen.setViewport({ width: 1000, height: 700, deviceScaleFactor: 1 });
    await screen.setContent(`<style>${style}</style><body><pre>${html}</pre></body>`);
    await (await screen.$("body")).screenshot({ path });
    await screen.close();
  },
  async faults() {
    const found = faults;
    faults = [];
    return found;
  },
};

const say = (answer) => process.stdout.write(`${JSON.stringify(answer)}\n`);
say({ ok: null });
for await (const line of createInterface({ input: process.stdin })) {
  const { do: name, ...rest } = JSON.parse(line);
  try {
    say({ ok: (await commands[name](rest)) ?? null });
  } catch (error) {
    say({ error: String(error) });
  }
}
await browser.close();
