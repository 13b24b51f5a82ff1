// Run against a real server: SIGNET_URL, SIGNET_TOKEN, and the images that it knows.
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import { createSignet, SignetProblem } from "../src/index.js";

function given(name: string): string {
  const value = process.env[name];
  assert.ok(value, `${name} is not set`);
  return value;
}

const baseUrl = given("SIGNET_URL");
const token = given("SIGNET_TOKEN");
const signet = createSignet({ baseUrl, token });

test("a signed image may run, at the digest that was decided on", async () => {
  const verdict = await signet.decide(given("IMAGE_SIGNED"));
  assert.equal(verdict.allowed, true);
  assert.equal(verdict.decision, "allow");
  assert.match(verdict.pinned, /@sha256:[0-9a-f]{64}$/);
});

test("an unsigned one may not, and the reason says so", async () => {
  const image = given("IMAGE_UNSIGNED");
  const verdict = await signet.decide(image, { assessment_id: "from-typescript" });
  assert.equal(verdict.allowed, false);
  assert.equal(verdict.decision, "deny");
  assert.equal(verdict.reasons[0]?.message, `Image ${image} is not signed. Signature required.`);
});

test("what cannot be found out is a verdict, and none that lets it run", async () => {
  const verdict = await signet.decide(given("IMAGE_UNREACHABLE"));
  assert.equal(verdict.allowed, false);
  assert.equal(verdict.decision, "unknown");
  assert.ok((verdict.retry_after ?? 0) > 0);
});

test("routes are typed", async () => {
  const { data, error } = await signet.api.GET("/api/v1/verdicts", { params: { query: { limit: 1 } } });
  assert.equal(error, undefined);
  assert.ok(data && "items" in data);
  assert.equal(data.items.length, 1);
});

test("a wrong question is a problem that names the field", async () => {
  await assert.rejects(signet.decide("UPPER/case"), (e: unknown) => {
    assert.ok(e instanceof SignetProblem);
    assert.equal(e.status, 400);
    assert.match(e.message, /image/i);
    return true;
  });
});

test("a wrong token is a problem", async () => {
  const stranger = createSignet({ baseUrl: baseUrl + "/", token: "sgn_none" });
  await assert.rejects(stranger.decide(given("IMAGE_SIGNED")), (e: unknown) => e instanceof SignetProblem && e.status === 401);
});

function answering(status: number, type: string, body: string) {
  return createSignet({
    baseUrl,
    token,
    fetch: () => Promise.resolve(new Response(body, { status, headers: { "Content-Type": type, "Retry-After": "7" } })),
  });
}

// As TestVerdictsFailClosed of the Go client.
test("whatever something in between answers, it is no verdict", async () => {
  const json = "application/json";
  for (const [status, type, body] of [
    [200, "text/html", "<html>Log in</html>"],
    [200, json, "{}"],
    [200, json, "null"],
    [200, json, "[true]"],
    [200, json, '{"image": "r/x", "allowed": "true", "decision": "allow", "reasons": []}'],
    [200, json, '{"image": "r/x", "decision": "allow", "reasons": []}'],
    [200, json, '{"image": "r/x", "allowed": true, "reasons": []}'],
    [200, json, '{"image": "r/x", "allowed": true, "decision": "maybe", "reasons": []}'],
    [200, json, '{"image": "r/x", "allowed": false, "decision": "allow", "reasons": []}'],
    [200, json, '{"image": "r/y", "allowed": true, "decision": "allow", "reasons": []}'],
    [200, json, '{"allowed": true, "decision": "allow", "reasons": []}'],
    [202, json, '{"image": "r/x", "allowed": true, "decision": "allow", "reasons": []}'],
    [502, json, '{"image": "r/x", "allowed": true, "decision": "allow", "reasons": []}'],
    [503, json, '{"image": "r/x", "allowed": true, "decision": "allow", "reasons": []}'],
    [503, json, '{"image": "r/x", "allowed": true, "decision": "unknown", "reasons": []}'],
    [503, json, '{"image": "r/x", "allowed": false, "decision": "deny", "reasons": []}'],
    [503, json, '{"image": "r/y", "allowed": false, "decision": "unknown", "reasons": []}'],
    [503, "application/problem+json", '{"image": "r/x", "allowed": false, "decision": "unknown", "reasons": []}'],
    [503, "text/plain", "busy"],
  ] as const) {
    await assert.rejects(answering(status, type, body).decide("r/x"), `${status} ${body} passes`);
  }
});

test("verdicts are taken as they are", async () => {
  for (const [status, allowed, decision] of [
    [200, true, "allow"],
    [200, false, "deny"],
    [200, true, "deny"], // an audit policy lets it pass
    [200, true, "unknown"],
    [503, false, "unknown"],
  ] as const) {
    const body = JSON.stringify({ image: "r/x", allowed, decision, reasons: [] });
    const verdict = await answering(status, "application/json; charset=utf-8", body).decide("r/x");
    assert.deepEqual([verdict.allowed, verdict.decision], [allowed, decision]);
  }
});

test("redirects are not followed", async () => {
  let asked = 0;
  const server = createServer((request, response) => {
    asked++;
    if (request.url?.startsWith("/elsewhere")) {
      response.setHeader("Content-Type", "application/json");
      response.end('{"image": "r/x", "allowed": true, "decision": "allow", "reasons": []}');
      return;
    }
    response.writeHead(307, { Location: "/elsewhere" }).end();
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  try {
    const { port } = server.address() as AddressInfo;
    await assert.rejects(createSignet({ baseUrl: `http://127.0.0.1:${port}`, token }).decide("r/x"), TypeError);
    assert.equal(asked, 1);
  } finally {
    server.closeAllConnections();
    server.close();
  }
});

test("a token goes to no address in clear text, unless that is allowed", () => {
  for (const [wrong, why] of [
    ["", /not a URL/],
    ["signet.example.com:8090", /not an http or https URL/],
    ["ftp://signet.example.com", /not an http or https URL/],
    ["http://signet.example.com", /not a loopback host/],
    ["http://10.0.0.1", /not a loopback host/],
    ["http://127.0.0.1.example.com", /not a loopback host/],
    ["https://me:pa55@signet.example.com", /holds a user name/],
    ["https://signet.example.com?x=1", /query/],
  ] as const) {
    assert.throws(
      () => createSignet({ baseUrl: wrong, token }),
      (e: unknown) => e instanceof TypeError && why.test(e.message) && !e.message.includes("pa55"),
      wrong,
    );
  }
  for (const good of ["https://signet.example.com/team/", "http://127.0.0.1:8090", "http://[::1]", "http://localhost:1"]) {
    createSignet({ baseUrl: good, token });
  }
  createSignet({ baseUrl: "http://signet.svc", token, allowHttp: true });
});

test("a server that does not answer is not waited for", async () => {
  const silent = createSignet({
    baseUrl,
    token,
    timeout: 20,
    fetch: (request) =>
      new Promise((_, reject) => {
        request.signal.addEventListener("abort", () => reject(request.signal.reason as Error));
      }),
  });
  const alive = setInterval(() => {}, 1000); // the time limit of a request keeps no program from ending
  try {
    await assert.rejects(silent.decide("r/x"), { name: "TimeoutError" });
  } finally {
    clearInterval(alive);
  }
});
