// Opens the page of the admin address in a headless Chromium, as people do, and prints what was seen as JSON.
//
//     node look_at_page.mjs CHROMIUM URL TOKEN_FILE FOLDER
//
// The token is typed into the form. Screenshots go into FOLDER: whole pages, and the top in light and dark for the documents.
// CHANGES make tops that are no longer as in the documents, and one whose letters only lie between pixels.
// axe-core looks for what keeps people out.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import axe from "axe-core";
import puppeteer from "puppeteer-core";

const [chromium, url, tokenFile, folder] = process.argv.slice(2);
const token = readFileSync(tokenFile, "utf8").trim();
const TABS = 16;

const browser = await puppeteer.launch({
  executablePath: chromium,
  pipe: true,
  // in a container there is no user namespace for the sandbox; the page is our own
  args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"],
});

async function opened(width, height, scheme) {
  const context = await browser.createBrowserContext();
  const page = await context.newPage();
  const said = [];
  page.on("console", (message) => said.push(message.text()));
  page.on("pageerror", (error) => said.push(String(error)));
  page.on("requestfailed", (request) => said.push(`failed: ${request.url()}`));
  const asked = [];
  page.on("request", (request) => asked.push(request.url()));
  await page.setViewport({ width, height, deviceScaleFactor: 1 });
  await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
  await page.goto(url);
  return { page, said, asked, context };
}

async function violations(page) {
  await page.evaluate(axe.source);
  const found = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
  return found.violations.map(({ id, impact, nodes }) => ({ id, impact, first: nodes[0].html, count: nodes.length }));
}

async function focused(page) {
  return page.evaluate(() => {
    const element = document.activeElement;
    const box = element.getBoundingClientRect();
    return { text: element.firstChild?.textContent.trim() ?? "", left: box.left, width: box.width };
  });
}

async function logIn(page) {
  // the field takes the focus by itself, on a busy machine some time after the page is there: what is typed before is lost
  await page.waitForFunction(() => document.activeElement.id === "token");
  await page.keyboard.type(token);
  await Promise.all([page.waitForNavigation(), page.keyboard.press("Enter")]);
}

async function look(name, width, height, scheme) {
  const { page, said, asked, context } = await opened(width, height, scheme);
  const form = { path: new URL(page.url()).pathname, violations: await violations(page) };
  await logIn(page);
  const seen = {
    name,
    form,
    path: new URL(page.url()).pathname,
    title: await page.title(),
    headings: await page.$$eval(".panels h2", (all) => all.map((each) => each.textContent)),
    violations: await violations(page),
    lamps: await page.$$eval(".lamp h3", (all) => all.map((each) => each.textContent)),
    plots: await page.$$eval(".plot svg", (all) => all.map((each) => each.getBoundingClientRect().width)),
    overflow: await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth),
    tabs: [],
    asked,
    said,
  };
  await page.screenshot({ path: join(folder, `${name}.png`), fullPage: true });
  for (let count = 0; count < TABS; count += 1) {
    await page.keyboard.press("Tab");
    seen.tabs.push(await focused(page));
  }
  await context.close();
  return seen;
}

const CHANGES = {
  "removed.png": () => document.querySelector(".lamp:last-child").remove(),
  "swapped.png": () => document.querySelector(".lamps").prepend(document.querySelector(".lamp:last-child")),
  "lowered.png": () => { document.querySelector(".plots").style.marginTop = "30px"; },
  "between.png": () => { document.body.style.transform = "translate(0.5px, 0.3px)"; },
};

async function picture(name, scheme, changes = {}) {
  const { page, context } = await opened(1440, 1000, scheme);
  await logIn(page);
  await page.screenshot({ path: join(folder, name) });
  for (const [changed, change] of Object.entries(changes)) {
    await page.reload();
    await page.evaluate(change);
    await page.screenshot({ path: join(folder, changed) });
  }
  await context.close();
}

async function withoutScripts() {
  const context = await browser.createBrowserContext();
  const page = await context.newPage();
  await page.setJavaScriptEnabled(false);
  await page.goto(url);
  await page.type("#token", token);
  await Promise.all([page.waitForNavigation(), page.click("button")]);
  const path = new URL(page.url()).pathname;
  await Promise.all([page.waitForNavigation(), page.click('a[href="/page/live"]')]);
  const live = new URL(page.url()).pathname;
  await Promise.all([page.waitForNavigation(), page.click(".logout button")]);
  const after = new URL(page.url()).pathname;
  await page.goto(url);
  const again = new URL(page.url()).pathname;
  await context.close();
  return { path, live, after, again };
}

try {
  const looks = [];
  for (const scheme of ["light", "dark"]) {
    looks.push(await look(`wall-${scheme}`, 1920, 1080, scheme));
    looks.push(await look(`wide-${scheme}`, 1024, 768, scheme));
    looks.push(await look(`narrow-${scheme}`, 360, 640, scheme));
    looks.push(await look(`least-${scheme}`, 320, 640, scheme));
  }
  await picture("page.png", "light", CHANGES);
  await picture("page-dark.png", "dark");
  console.log(JSON.stringify({ looks, plain: await withoutScripts() }));
} finally {
  await browser.close();
}
