// The platform's side: a page with the portal of one account, and a route that makes its token.
import { readFileSync } from "node:fs";
import { createServer } from "node:http";

const { POSTHASTE_URL = "http://127.0.0.1:8400", POSTHASTE_KEY, ACCOUNT = "default", PORT = "3000" } = process.env;
const page = readFileSync(new URL("page.html", import.meta.url), "utf8");

/** A token for the customer who is signed in here: your own sign-in says which account that is. */
async function token() {
  const answer = await fetch(`${POSTHASTE_URL}/v1/accounts/${ACCOUNT}/portal-sessions`, {
    method: "POST",
    headers: { authorization: `Bearer ${POSTHASTE_KEY}`, "content-type": "application/json" },
    body: JSON.stringify({ ttl: "1h" }),
  });
  if (!answer.ok) throw new Error(`no portal session: ${answer.status} ${await answer.text()}`);
  return (await answer.json()).token;
}

const server = createServer(async (request, response) => {
  try {
    if (request.url === "/token") {
      response.writeHead(200, { "content-type": "text/plain", "cache-control": "no-store" });
      response.end(await token());
    } else {
      response.writeHead(200, { "content-type": "text/html; charset=utf-8" });
      response.end(page.replaceAll("{server}", POSTHASTE_URL));
    }
  } catch (error) {
    response.writeHead(502, { "content-type": "text/plain" });
    response.end(String(error));
  }
});

server.listen(Number(PORT), "localhost", () => console.log(`http://localhost:${server.address().port}`));
