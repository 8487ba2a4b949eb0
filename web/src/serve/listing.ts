// The images of a query, read in pages as they come on the screen.

import { signal } from "@preact/signals";
import { get, type Refused } from "./api";
import type { Image, ImagePage } from "./model";
import { nameOf, pathOf, type Query } from "./query";
import { refused } from "./state";
import { PAGE, Pages, pagesOf } from "./window";

const LARGEST = 500; // rows of an answer
const RETRY = 3_000; // ms until what is not made yet is asked for again

export class Listing {
  /** How many images are found; null before the first answer. */
  readonly total = signal<number | null>(null);
  readonly error = signal<Refused | null>(null);
  readonly command = signal<string | null>(null);
  readonly read = signal<string | null>(null);
  readonly unread = signal(0);
  /** How many pages were answered: who draws rows draws them again. */
  readonly round = signal(0);
  /** The rows that were needed last. */
  first = 0;
  end = 1;
  readonly #pages = new Pages<Image>();
  readonly #asked = new Map<number, AbortController>();
  #timer = 0;

  constructor(readonly query: Query) {}

  row(at: number): Image | undefined {
    return this.#pages.row(at);
  }

  /** Read the rows from `first` up to `end`, where they are not there. What is no longer needed is given up. */
  need(first: number, end: number): void {
    this.first = first;
    this.end = end;
    const wanted = pagesOf(first, end);
    for (const [page, stop] of this.#asked) {
      if (wanted.includes(page)) continue;
      stop.abort();
      this.#asked.delete(page);
    }
    for (const page of wanted) if (!this.#pages.has(page) && !this.#asked.has(page)) void this.#ask(page);
  }

  /** The names of the rows from `first` up to `end`, whether they were read or not. Raises Refused. */
  async names(first: number, end: number): Promise<string[]> {
    const names: string[] = [];
    for (let at = first; at < end; at += 1) {
      const row = this.row(at);
      if (row === undefined) return this.#readNames(first, end);
      names.push(nameOf(row));
    }
    return names;
  }

  stop(): void {
    clearTimeout(this.#timer);
    for (const one of this.#asked.values()) one.abort();
    this.#asked.clear();
  }

  async #readNames(first: number, end: number): Promise<string[]> {
    const names: string[] = [];
    while (first + names.length < end) {
      const offset = first + names.length;
      const { rows } = await get<ImagePage>(pathOf(this.query, offset, Math.min(LARGEST, end - offset)));
      if (rows.length === 0) break;
      names.push(...rows.map(nameOf));
    }
    return names;
  }

  async #ask(page: number): Promise<void> {
    const stop = new AbortController();
    this.#asked.set(page, stop);
    try {
      const answer = await get<ImagePage>(pathOf(this.query, page * PAGE, PAGE), stop.signal);
      this.#pages.put(page, answer.rows);
      this.total.value = answer.total;
      this.command.value = answer.command;
      this.read.value = answer.read;
      this.unread.value = answer.unread;
      this.error.value = null;
      this.round.value += 1;
    } catch (error) {
      if (stop.signal.aborted) return;
      this.error.value = refused(error);
      const { status } = this.error.value;
      if (status === 503 || status === 0) this.#timer = setTimeout(() => void this.#ask(page), RETRY);
    } finally {
      if (this.#asked.get(page) === stop) this.#asked.delete(page);
    }
  }
}
