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
  ) {
    super(problem?.detail ?? `Signet answered with status ${status} and nothing that it would say`);
  }
}

export interface SignetOptions {
  /** Address of the server, without /api. */
  baseUrl: string;
  /** API token. */
  token: string;
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
   * throws: {@link SignetProblem}, or what fetch throws when the server cannot be reached.
   */
  decide(image: string, options?: Omit<VerdictRequest, "image"> & { signal?: AbortSignal }): Promise<Verdict>;
}

/** Makes a client. */
export function createSignet(options: SignetOptions): Signet {
  const api = createClient<paths>({
    baseUrl: options.baseUrl.replace(/\/+$/, ""),
    headers: { Authorization: `Bearer ${options.token}` },
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
      // 503 is a verdict too, when Signet could not find out.
      if ((response.status === 200 || response.status === 503) && isVerdict(answer)) {
        return answer;
      }
      throw new SignetProblem(response.status, isProblem(answer) ? answer : undefined, seconds(response));
    },
  };
}

function isVerdict(answer: unknown): answer is Verdict {
  return isObject(answer) && typeof answer.allowed === "boolean" && typeof answer.decision === "string" && Array.isArray(answer.reasons);
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
