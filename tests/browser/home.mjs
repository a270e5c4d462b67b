// The home page in a real browser, against a running `bellwether up`.
//
// Environment:
//   BW_CONSOLE   URL of the console, such as http://127.0.0.1:8080              (required)
//   BW_KEY       an operator's key that sees all projects                       (required)
//   BW_INGEST    URL of ingest; default: BW_CONSOLE, which answers it under `up`
//   BW_SECRET    secret of the source `sentry`, for the alerts posted here      (required)
//   BW_SHOTS     folder for the screenshots; default: none are written
//   BW_CHROMIUM  the browser's program; default: chromium, /usr/bin/chromium, or
//                @sparticuz/chromium when that package is installed beside this file
//
// Needs `npm ci` in this folder once. Prints one line a check, and a figure where there is one;
// exits 1 when a check fails.

import { createHmac, randomBytes } from "node:crypto";
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { chromium } from "playwright-core";

const need = (name) => {
  const value = process.env[name];
  if (!value) { console.error(`${name} is not set; see the top of this file`); process.exit(2); }
  return value;
};
const CONSOLE = need("BW_CONSOLE"), KEY = need("BW_KEY"), SECRET = need("BW_SECRET");
const INGEST = process.env.BW_INGEST ?? CONSOLE, SHOTS = process.env.BW_SHOTS;
const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const WITHIN_MS = 1000;

let failed = 0;
function check(name, ok, detail = "") {
  if (!ok) failed++;
  console.log(`${ok ? "ok  " : "FAIL"}  ${name}${detail ? `  (${detail})` : ""}`);
}

async function browserProgram() {
  const named = [process.env.BW_CHROMIUM, "/usr/bin/chromium", "/usr/bin/chromium-browser"];
  const found = named.find((path) => path && existsSync(path));
  if (found) return found;
  try { return await (await import("@sparticuz/chromium")).default.executablePath(); } catch {
    console.error("no browser: install chromium, or `npm install @sparticuz/chromium` here, or set BW_CHROMIUM");
    process.exit(2);
  }
}

// One signed Sentry error; resolves once ingest has answered.
let posted = 0;
const run = randomBytes(4).toString("hex");
async function post(title, level = "error") {
  const n = ++posted;
  const body = JSON.stringify({
    action: "created",
    actor: { type: "application", id: "sentry", name: "Sentry" },
    data: { error: {
      event_id: createHmac("sha256", run).update(String(n)).digest("hex").slice(0, 32),
      issue_id: `9${parseInt(run, 16)}${n}`,
      project: 17, level, platform: "python", title,
      culprit: "browser.test in home", message: "",
      datetime: new Date().toISOString(), timestamp: Date.now() / 1000,
      url: "https://sentry.example/api/0/", web_url: "https://sentry.example/issues/1/",
      issue_url: `https://sentry.example/api/0/issues/9${n}/`,
      environment: "production", tags: [["environment", "production"], ["level", level]],
    } },
    installation: { uuid: "7a485448-a9e2-4c85-8a3c-4f44175783c9" },
  });
  const signature = createHmac("sha256", SECRET).update(body).digest("hex");
  const answer = await fetch(`${INGEST}/webhook/sentry`, {
    method: "POST", body,
    headers: {
      "content-type": "application/json", "sentry-hook-resource": "error",
      "sentry-hook-signature": signature, "request-id": `${run}-${n}`,
      "sentry-hook-timestamp": String(Math.floor(Date.now() / 1000)),
    },
  });
  if (answer.status !== 202 && answer.status !== 200) throw new Error(`ingest: ${answer.status} ${await answer.text()}`);
}

async function axe(page, name) {
  // Injected as a function's text over the protocol, which the page's content policy does not touch.
  await page.evaluate(AXE);
  const { violations } = await page.evaluate(() => globalThis.axe.run(document, {
    runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
  }));
  const told = violations.map((v) => `${v.id}: ${v.nodes.map((n) => n.target.join(" ")).slice(0, 3).join(", ")}`);
  check(`axe finds nothing: ${name}`, violations.length === 0, told.join("; "));
}

async function shot(page, name, full = false) {
  if (SHOTS) await page.screenshot({ path: join(SHOTS, `${name}.png`), fullPage: full });
}

const sideways = (page) => page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
const row = (page, title) => page.locator("#problem-rows tr", { hasText: title });
const idle = (page) => page.waitForFunction(() => document.querySelector("#pill").dataset.state === "live", null, { timeout: 15000 });

async function signIn(context, path = "/p/~/") {
  const page = await context.newPage();
  const problems = [];
  page.on("pageerror", (e) => problems.push(String(e)));
  page.on("console", (m) => { if (m.type() === "error" && !/status of 401/.test(m.text())) problems.push(m.text()); });
  await page.goto(CONSOLE + path);
  await page.waitForURL(/\/sign-in/);
  await page.fill("#key", KEY);
  await page.keyboard.press("Enter");
  await page.waitForURL(CONSOLE + path);
  return { page, problems };
}

const executablePath = await browserProgram();
if (SHOTS) mkdirSync(SHOTS, { recursive: true });
const browser = await chromium.launch({ executablePath, args: [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync",
] });
try {
  // Signing in
  const desk = await browser.newContext({ viewport: { width: 1440, height: 900 }, colorScheme: "light", locale: "en-GB" });
  const first = await desk.newPage();
  await first.goto(`${CONSOLE}/p/~/`);
  check("a page without a session leads to sign-in and back", first.url().endsWith("/sign-in?next=/p/~/"), first.url());
  await axe(first, "sign-in, light");
  await shot(first, "sign-in-light");
  await first.fill("#key", "not-a-key");
  await first.keyboard.press("Enter");
  await first.waitForSelector("#key-problem");
  await axe(first, "sign-in refused");
  await shot(first, "sign-in-refused");
  await first.close();

  const { page, problems } = await signIn(desk);
  await idle(page);
  const cookie = (await desk.cookies()).find((c) => c.name === "bw_session");
  check("the session cookie is HttpOnly and SameSite=Strict", cookie?.httpOnly === true && cookie?.sameSite === "Strict");
  await page.evaluate(() => { globalThis.unreloaded = true; });
  const had = Number(await page.evaluate(() => document.querySelector("#sentence .one")?.textContent ?? "0"));

  // An alert appears, and its analysis lands, without a reload
  const times = [];
  for (let i = 0; i < 5; i++) {
    const title = `TimeoutError: alert ${i} of run ${run}`;
    const began = performance.now();
    await post(title, i === 0 ? "fatal" : "error");
    await row(page, title).waitFor({ timeout: 5000 });
    times.push(performance.now() - began);
    await page.waitForTimeout(700);
  }
  const slowest = Math.max(...times);
  check("an alert posted appears within 1 s", slowest <= WITHIN_MS, `${times.map((t) => t.toFixed(0)).join(", ")} ms`);
  check("without a reload", await page.evaluate(() => globalThis.unreloaded === true));
  const newest = row(page, `alert 4 of run ${run}`);
  await newest.locator("details.ai").waitFor({ timeout: 10000 });
  check("its analysis lands in place", await newest.locator("details.ai .verdict").count() > 0);
  await post(`BrowserError: nothing is known of it, run ${run}`);
  await row(page, "BrowserError").first().waitFor({ timeout: 5000 });
  await row(page, `it, run ${run}`).locator(".c-ai", { hasText: "no answer" }).waitFor({ timeout: 10000 });
  check("where no analyst answers, the row says so", true);
  const count = Number(await page.locator("#sentence .one").textContent());
  check("each counts among what needs somebody", count === had + 6, `${had}, then ${count}`);
  check("the tab's title has the number", (await page.title()).startsWith(`(${count}) `), await page.title());
  await axe(page, "home, light");
  await shot(page, "home-light");

  // Nothing moves under a reading hand
  await newest.locator("details.ai summary").focus();
  await page.keyboard.press("Enter");
  await page.waitForTimeout(300);
  const order = () => page.evaluate(() => JSON.stringify([[...document.querySelectorAll("#problem-rows tr")].map((r) => r.id), scrollY, document.activeElement.closest("tr")?.id, document.querySelectorAll("details[open]").length]));
  await page.evaluate(() => {
    globalThis.shift = 0;
    new PerformanceObserver((list) => { for (const e of list.getEntries()) globalThis.shift += e.value; }).observe({ type: "layout-shift" });
  });
  const before = await order();
  await axe(page, "home, an analysis open");
  await shot(page, "home-analysis");
  for (let i = 0; i < 3; i++) await post(`WaitingError: ${i} of run ${run}`);
  await page.locator("#new button").waitFor({ timeout: 5000 });
  await page.waitForFunction(() => document.querySelector("#new button").textContent.includes("3"), null, { timeout: 5000 });
  check("while reading, rows, scroll, focus and open boxes stay", before === await order());
  check("the bar says how many wait", (await page.locator("#new button").textContent()).startsWith("3 new"));
  check("the layout does not shift", await page.evaluate(() => globalThis.shift) === 0, String(await page.evaluate(() => globalThis.shift)));
  await shot(page, "home-waiting");
  await page.keyboard.press("n");
  await row(page, `WaitingError: 2 of run ${run}`).waitFor({ timeout: 2000 });
  check("N shows them, and the open box stays open", await page.locator("details[open].ai").count() === 1);
  await page.keyboard.press("Enter");
  await page.evaluate(() => document.activeElement.blur());

  // Pause
  await page.keyboard.press("p");
  await post(`PausedError: run ${run}`);
  await page.waitForFunction(() => /^Paused, [1-9]/.test(document.querySelector("#pill .text").textContent), null, { timeout: 5000 });
  check("paused, nothing comes in", await row(page, `PausedError: run ${run}`).count() === 0);
  await page.reload();
  check("still paused after a reload", await page.locator("#pause").textContent() === "Resume");
  await page.keyboard.press("p");
  await row(page, `PausedError: run ${run}`).waitFor({ timeout: 3000 });
  check("resumed, it is there", true);

  // Hostile text
  await post(`<img src=x onerror="globalThis.owned=1"> \u202e evil ${run} ${"long ".repeat(200)}`, "warning");
  await row(page, `evil ${run}`).waitFor({ timeout: 5000 });
  check("a sender's markup is only text", await page.evaluate(() => globalThis.owned === undefined && !document.querySelector("#problem-rows img")));
  check("and it does not widen the page", await sideways(page) <= 0);

  // Dark, by choice
  await page.locator(".choose summary").click();
  await page.waitForTimeout(200);
  await shot(page, "home-menu");
  await page.locator("[data-theme-to=dark]").click();
  await page.keyboard.press("Escape");
  await page.evaluate(() => scrollTo(0, 0));
  await axe(page, "home, dark by choice");
  await shot(page, "home-dark");
  await page.reload();
  check("the choice stays", await page.evaluate(() => document.documentElement.dataset.theme) === "dark");
  check("no script error and no refusal by the content policy", problems.length === 0, problems.join("; "));

  // Signing out ends the session
  const session = cookie.value;
  await page.locator(".choose summary").click();
  await page.locator(".pop button").click();
  await page.waitForURL(/\/sign-in/);
  const after = await fetch(`${CONSOLE}/p/~/main`, { headers: { cookie: `bw_session=${session}` } });
  check("after signing out the cookie opens nothing", after.status === 401, String(after.status));
  await desk.close();

  // 360 px, both themes; and the other languages
  for (const [colorScheme, locale] of [["light", "en-GB"], ["dark", "zh-CN"], ["light", "zh-TW"]]) {
    const phone = await browser.newContext({ viewport: { width: 360, height: 740 }, colorScheme, locale, hasTouch: true, isMobile: true, deviceScaleFactor: 2 });
    const { page: small } = await signIn(phone);
    await small.waitForFunction(() => document.querySelector("#pill").dataset.state === "live", null, { timeout: 15000 });
    const name = `phone-${colorScheme}-${locale}`;
    check(`no sideways scroll: ${name}`, await sideways(small) <= 0, `${await sideways(small)} px`);
    const lang = await small.evaluate(() => document.documentElement.lang);
    check(`the browser's language: ${name}`, lang === (locale === "en-GB" ? "en" : locale), lang);
    await axe(small, name);
    await shot(small, name);
    await small.locator("#problems").scrollIntoViewIfNeeded();
    await small.evaluate(() => document.querySelector("#problems").scrollIntoView());
    await shot(small, `${name}-problems`);
    await small.evaluate(() => document.querySelector("#sources").scrollIntoView());
    await shot(small, `${name}-sources`);
    await phone.close();
  }
  const dark = await browser.newContext({ viewport: { width: 1440, height: 900 }, colorScheme: "dark", locale: "zh-CN", reducedMotion: "reduce" });
  const { page: night } = await signIn(dark);
  await idle(night);
  await axe(night, "home, dark by system, zh-CN");
  await shot(night, "home-dark-zh-CN");
  await dark.close();
  const middle = await browser.newContext({ viewport: { width: 900, height: 900 }, locale: "en-GB" });
  const { page: tablet } = await signIn(middle);
  await idle(tablet);
  await axe(tablet, "home at 900 px");
  check("no sideways scroll at 900 px", await sideways(tablet) <= 0);
  await shot(tablet, "home-900");
  await middle.close();
} catch (error) {
  check("the run came to its end", false, String(error));
} finally {
  await browser.close();
}
console.log(failed ? `${failed} failed` : "all passed");
process.exit(failed ? 1 : 0);
