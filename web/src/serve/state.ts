// What all screens share: who looks, at which registry, where in the page; and how a screen reads what it shows.

import { signal, useSignal, type Signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { repeated } from "../command";
import { get, post, Refused } from "./api";
import { changes, hear, isActive, jobs } from "./jobs";
import type { Job, Role, Session, Topic } from "./model";
import { routeOf, type Route } from "./route";

export const session = signal<Session | null>(null);
export const route = signal<Route>(routeOf(location.pathname, location.search));
/** Whether the server does not know who looks. */
export const isUnknown = signal(false);
/** What is told for a moment, also to a screen reader. */
export const notice = signal("");

/** Go to an address of this page. */
export function go(path: string): void {
  history.pushState(null, "", path);
  route.value = routeOf(location.pathname, location.search);
  scrollTo(0, 0);
}

/** Change the address without going anywhere. */
export function replace(path: string): void {
  history.replaceState(null, "", path);
}

/** A command for a terminal, of the registry and the records that this server shows. */
export function commandFor(words: string): string {
  return `dregutil ${words}${repeated(session.value?.command ?? "")}`;
}

/** Whether the person may do what a role may. */
export function may(role: Role): boolean {
  return session.value?.roles.includes(role) ?? false;
}

/** Every refusal comes by here: 401 ends in the page that says how to come in. */
export function refused(error: unknown): Refused {
  const found = error instanceof Refused ? error : new Refused(0, "The page has an error of its own.", String(error));
  if (found.status === 401) isUnknown.value = true;
  return found;
}

/** Start a job; null if it was refused, which `failure` then has. */
export async function start(path: string, body: unknown, failure: Signal<Refused | null>): Promise<Job | null> {
  failure.value = null;
  try {
    const job = await post<Job>(path, body);
    const known = jobs.value.get(job.id);
    if (known === undefined || isActive(known)) hear(job); // that it ended may be told before this answer is here
    return job;
  } catch (error) {
    failure.value = refused(error);
    return null;
  }
}

/** What is read for a screen. While it is read again, what was there stays. */
export interface Reading<Answer> {
  value: Answer | null;
  error: Refused | null;
}

const RETRY = 3_000; // ms until what is not made yet is asked for again

/** Read a path of the API, again whenever one of `topics` changes; null reads nothing. */
export function useReading<Answer>(path: string | null, topics: readonly Topic[] = []): Signal<Reading<Answer>> {
  const found = useSignal<Reading<Answer>>({ value: null, error: null });
  const of = useSignal(path);
  const round = useSignal(0);
  const times = topics.map((one) => changes[one].value).join();
  if (of.peek() !== path) {
    of.value = path;
    found.value = { value: null, error: null };
  }
  useEffect(() => {
    if (path === null) return undefined;
    const stop = new AbortController();
    let timer = 0;
    get<Answer>(path, stop.signal).then(
      (value) => (found.value = { value, error: null }),
      (error: unknown) => {
        if (stop.signal.aborted) return;
        const why = refused(error);
        found.value = { value: why.status === 0 ? found.value.value : null, error: why };
        if (why.status === 503 || why.status === 0) timer = setTimeout(() => (round.value += 1), RETRY);
      },
    );
    return () => {
      stop.abort();
      clearTimeout(timer);
    };
  }, [path, times, round.value]);
  return found;
}
