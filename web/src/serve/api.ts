// The API of the server. Every text of an answer is shown as text, with escapes for what is not shown.

import { escaped } from "../model";

const TO = "/api/v1/";

/** What the API refused, in its words. Status 0: there was no answer. */
export class Refused extends Error {
  constructor(
    readonly status: number,
    message: string,
    readonly advice: string | null = null,
  ) {
    super(message);
  }
}

/** The answer to a GET. Raises Refused. */
export function get<Answer>(path: string, signal?: AbortSignal): Promise<Answer> {
  return asked<Answer>(path, signal ? { signal } : {});
}

/** The answer to a POST. Raises Refused. */
export function post<Answer>(path: string, body: unknown): Promise<Answer> {
  return asked<Answer>(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
}

async function asked<Answer>(path: string, init: RequestInit): Promise<Answer> {
  let answer: Response;
  let text: string;
  try {
    answer = await fetch(TO + path, { credentials: "same-origin", ...init });
    text = await answer.text();
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new Refused(0, "The server does not answer.", "See whether dregutil serve still runs in its terminal.");
  }
  if (answer.ok) return text === "" ? (undefined as Answer) : decoded<Answer>(text);
  throw refusal(answer.status, text);
}

/** What an answer that is no success says. */
export function refusal(status: number, text: string): Refused {
  try {
    const found = decoded<{ error?: unknown; advice?: unknown }>(text);
    if (typeof found.error === "string") {
      return new Refused(status, found.error, typeof found.advice === "string" ? found.advice : null);
    }
  } catch {
    // Not of the API: of a proxy between, for example.
  }
  return new Refused(status, `The server answered with status ${status}.`);
}

/** The value of a JSON text, its strings with escapes for control and bidi characters. */
export function decoded<Value>(text: string): Value {
  return JSON.parse(text, (_, value: unknown) => (typeof value === "string" ? escaped(value) : value)) as Value;
}
