// A person with a plain browser: follows redirects, fills in the login, agrees. No JavaScript runs.
//
//   node person.mjs ADDRESS REDIRECT_URI
//
// Prints the address on which the browser ends: one that begins with REDIRECT_URI, or the last page that asks for nothing.
const [address, redirectUri] = process.argv.slice(2);
const MOST_STEPS = 20;
const jar = new Map();

async function go(url, form) {
  const cookie = [...jar].map(([name, value]) => `${name}=${value}`).join("; ");
  const headers = { cookie, ...(form && { "content-type": "application/x-www-form-urlencoded" }) };
  const answer = await fetch(url, { redirect: "manual", headers, method: form ? "POST" : "GET", body: form });
  for (const line of answer.headers.getSetCookie()) {
    const [name, value] = line.split(";")[0].split(/=(.*)/s);
    if (value) jar.set(name, value);
    else jar.delete(name);
  }
  return answer;
}

const attribute = (tag, name) => (tag.match(new RegExp(`${name}="([^"]*)"`)) ?? [])[1]?.replaceAll("&amp;", "&");

let [url, form] = [address, undefined];
for (let step = 0; step < MOST_STEPS; step += 1) {
  const answer = await go(url, form);
  const location = answer.headers.get("location");
  if (location) {
    [url, form] = [new URL(location, url).href, undefined];
    if (url.startsWith(redirectUri)) break;
    continue;
  }
  const page = await answer.text();
  const shape = page.match(/<form[\s\S]*?<\/form>/);
  if (!answer.ok || !shape) {
    if (!answer.ok) throw new Error(`${url}: ${answer.status} ${page.replaceAll(/<[^>]*>/g, " ")}`);
    break;
  }
  form = new URLSearchParams();
  for (const input of shape[0].match(/<input[^>]*>/g) ?? []) {
    const name = attribute(input, "name");
    if (name && attribute(input, "type") !== "checkbox") form.set(name, attribute(input, "value") ?? "somebody");
  }
  url = new URL(attribute(shape[0].match(/<form[^>]*>/)[0], "action") ?? url, url).href;
}
console.log(url);
