// A person with a real browser: Chromium, without a screen. Signs in, agrees, and looks at the page that comes last.
//
//   node browser.mjs ADDRESS REDIRECT_URI SCREENSHOT
//
// Prints the last page's text. The screenshot shows what a person would see.
import { chromium } from "playwright-core";

const [address, redirectUri, screenshot] = process.argv.slice(2);
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync"],
});
try {
  const page = await browser.newPage({ viewport: { width: 900, height: 620 } });
  const complaints = [];
  page.on("console", (message) => message.type() === "error" && complaints.push(`${message.location().url}: ${message.text()}`));
  await page.goto(address);
  await page.fill("input[name=login]", "owner");
  await page.fill("input[name=password]", "secret");
  await page.click("button[type=submit]");
  await page.waitForSelector("form input[name=prompt][value=consent]", { state: "attached" });
  await page.click("button[type=submit]");
  await page.waitForSelector("main h1");
  // The first page leads on to the outcome by itself.
  await page.waitForFunction(() => !document.querySelector("meta[http-equiv=refresh]"));
  await page.screenshot({ path: screenshot });
  console.log(await page.innerText("main"));
  // Neither the code nor the state may be left where the next person at this browser looks.
  const origin = new URL(redirectUri).origin;
  if (!page.url().startsWith(origin) || page.url().includes("code=")) throw new Error(`ended on ${page.url()}`);
  // The other server's pages have theirs; ours must have none.
  const own = complaints.filter((text) => text.startsWith(origin) && !text.includes("favicon"));
  if (own.length > 0) throw new Error(own.join("\n"));
} finally {
  await browser.close();
}
