// Run against a real server: SIGNET_URL, SIGNET_TOKEN, and the images that it knows.
import assert from "node:assert/strict";
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

test("whatever something in between answers, it is no verdict", async () => {
  for (const [status, type, body] of [
    [200, "text/html", "<html>Log in</html>"],
    [200, "application/json", "{}"],
    [200, "application/json", '{"allowed": "true", "decision": "allow", "reasons": []}'],
    [502, "application/json", '{"allowed": true, "decision": "allow", "reasons": []}'],
    [503, "text/plain", "busy"],
  ] as const) {
    const between = createSignet({
      baseUrl,
      token,
      fetch: () => Promise.resolve(new Response(body, { status, headers: { "Content-Type": type, "Retry-After": "7" } })),
    });
    await assert.rejects(between.decide("r/x"), `${status} ${body} passes`);
  }
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
