/**
 * Signet's client for TypeScript. Types and routes are generated from the OpenAPI document (schema.d.ts); what is written here is
 * what every caller needs besides: the token, errors as {@link SignetProblem}, and {@link Signet.decide}, which cannot be misread.
 *
 *     const signet = createSignet({ baseUrl: "https://signet.example.com", token });
 *     const verdict = await signet.decide("ghcr.io/org/server:v1");
 *     if (!verdict.allowed) throw new Error(verdict.reasons[0]?.message);
 *     deploy(verdict.pinned);
 */
import createClient, { type Client } from "openapi-fetch";
import type { components, paths } from "./schema.js";

export type { components, paths } from "./schema.js";
export type Verdict = components["schemas"]["Verdict"];
export type VerdictRequest = components["schemas"]["VerdictRequest"];
export type Problem = components["schemas"]["Problem"];

/** What the server answered in place of a verdict. Nothing may run meanwhile. */
export class SignetProblem extends Error {
  override readonly name = "SignetProblem";

  constructor(
    /** HTTP status. */
    readonly status: number,
    /** The problem details (RFC 9457); undefined where something in between answered. */
    readonly problem: Problem | undefined,
    /** Seconds after which it may be asked again; undefined where that is not said. */
    readonly retryAfter: number | undefined,
    /** Why the answer was not understood. */
    why = "nothing that it would say",
  ) {
    super(problem?.detail ?? `Signet answered with status ${status} and ${why}`);
  }
}

export interface SignetOptions {
  /** Address of the server, without /api. Plain http is taken for a loopback host only, or with `allowHttp`. */
  baseUrl: string;
  /** API token. */
  token: string;
  /** Sends the token in clear text to hosts that are not loopback. */
  allowHttp?: boolean;
  /** Milliseconds after which an answer is no longer waited for. Default: 35 000, as the server itself gives up after 30 s. */
  timeout?: number;
  /** In place of the global fetch. */
  fetch?: (request: Request) => Promise<Response>;
}

export interface Signet {
  /** Every route of the API, typed. */
  readonly api: Client<paths>;
  /**
   * Asks whether an image may run. Allow, deny and unknown are verdicts: act on `allowed`, and deploy `pinned`. Everything else
   * throws: {@link SignetProblem}, or what fetch throws when the server cannot be reached or redirects.
   */
  decide(image: string, options?: Omit<VerdictRequest, "image"> & { signal?: AbortSignal }): Promise<Verdict>;
}

/** Makes a client; a TypeError says what is wrong with `baseUrl`. */
export function createSignet(options: SignetOptions): Signet {
  const api = createClient<paths>({
    baseUrl: checked(options.baseUrl, options.allowHttp ?? false),
    headers: { Authorization: `Bearer ${options.token}` },
    redirect: "error", // the token and the verdict are this server's alone
    ...(options.fetch ? { fetch: options.fetch } : {}),
  });
  const timeout = options.timeout ?? 35_000;
  return {
    api,
    async decide(image, { signal, ...question } = {}) {
      const limit = AbortSignal.timeout(timeout);
      const { data, error, response } = await api.POST("/api/v1/verdicts", {
        body: { ...question, image },
        signal: signal ? AbortSignal.any([signal, limit]) : limit,
      });
      const answer: unknown = data ?? error;
      const refused = (why?: string) => new SignetProblem(response.status, isProblem(answer) ? answer : undefined, seconds(response), why);
      // 503 is a verdict too, when Signet could not find out.
      if (response.status !== 200 && !(response.status === 503 && isJSON(response))) {
        throw refused();
      }
      if (!isVerdict(answer)) {
        throw refused("no verdict that would be plain");
      }
      if (response.status !== 200 && (answer.allowed || answer.decision !== "unknown")) {
        throw refused(`the decision ${answer.decision}, which do not go together`);
      }
      if (answer.image !== image) {
        throw refused("a verdict on another image"); // somebody else's answer allows nothing here
      }
      return answer;
    },
  };
}

/** The address without slashes at its end. Errors do not quote it, for it may hold a password. */
function checked(baseUrl: string, allowHttp: boolean): string {
  let url: URL;
  try {
    url = new URL(baseUrl);
  } catch {
    throw new TypeError("baseUrl is not a URL; write it as https://signet.example.com");
  }
  if (url.protocol !== "https:" && url.protocol !== "http:") {
    throw new TypeError("baseUrl is not an http or https URL; write it as https://signet.example.com");
  }
  if (url.username !== "" || url.password !== "") {
    throw new TypeError("baseUrl holds a user name or a password; give a token instead");
  }
  if (url.search !== "" || url.hash !== "") {
    throw new TypeError("baseUrl ends in a query or a fragment; write it as https://signet.example.com");
  }
  if (url.protocol === "http:" && !allowHttp && !isLoopback(url.hostname)) {
    throw new TypeError(`baseUrl: ${url.hostname} is not a loopback host, and the token would cross the network in clear text; use https`);
  }
  return url.origin + url.pathname.replace(/\/+$/, "");
}

function isLoopback(host: string): boolean {
  // A URL has every spelling of an address as this one.
  return host === "localhost" || host === "[::1]" || /^127(\.\d+){3}$/.test(host);
}

function isJSON(response: Response): boolean {
  return /^application\/json(; charset=utf-8)?$/.test(response.headers.get("Content-Type") ?? "");
}

function isVerdict(answer: unknown): answer is Verdict {
  return (
    isObject(answer) &&
    typeof answer.allowed === "boolean" &&
    (answer.decision === "deny" || answer.decision === "unknown" || (answer.decision === "allow" && answer.allowed)) &&
    Array.isArray(answer.reasons)
  );
}

function isProblem(answer: unknown): answer is Problem {
  return isObject(answer) && typeof answer.detail === "string";
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}

function seconds(response: Response): number | undefined {
  const text = response.headers.get("Retry-After");
  return text !== null && /^\d+$/.test(text) ? Number(text) : undefined;
}
