// Opens a report in a headless Chromium, on screens of several sizes and as on paper, and prints what was seen as JSON.
//
//     node look_at_report.mjs CHROMIUM FILE
import { pathToFileURL } from "node:url";
import axe from "axe-core";
import puppeteer from "puppeteer-core";

const [chromium, file] = process.argv.slice(2);
const browser = await puppeteer.launch({
  executablePath: chromium,
  pipe: true,
  // in a container there is no user namespace for the sandbox; the page is our own
  args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"],
});

async function look(width, scheme, media) {
  const page = await browser.newPage();
  await page.setViewport({ width, height: 900, deviceScaleFactor: 1 });
  // in one call: puppeteer's two methods each undo the other
  const session = await page.createCDPSession();
  await session.send("Emulation.setEmulatedMedia", { media, features: [{ name: "prefers-color-scheme", value: scheme }] });
  // axe is a script, which the policy of the page forbids
  await page.setBypassCSP(true);
  await page.goto(pathToFileURL(file).href);
  await page.evaluate(axe.source);
  const found = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
  const seen = {
    violations: found.violations.map(({ id, nodes }) => ({ id, first: nodes[0].html })),
    overflow: await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth),
    background: await page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor),
  };
  await page.close();
  return seen;
}

try {
  const looks = {};
  for (const width of [360, 1024, 1920]) {
    for (const scheme of ["light", "dark"]) {
      looks[`${width}-${scheme}`] = await look(width, scheme, "screen");
    }
  }
  looks["paper-dark"] = await look(700, "dark", "print");
  console.log(JSON.stringify(looks));
} finally {
  await browser.close();
}
