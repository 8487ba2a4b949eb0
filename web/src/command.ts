// The commands that show the same as the page.

import type { Place } from "./tree";

const REPEATED = new Set(["-reg", "--registry", "--state-dir", "--config"]);
const WORD = /(?:'[^']*'|"[^"]*"|\\.|[^\s'"\\])+/g;

/** The options of the report's own command that other commands need too: the registry, the state folder. */
export function repeated(command: string): string {
  const given = command.match(WORD) ?? [];
  const found: string[] = [];
  given.forEach((word, at) => {
    const [name = "", ...value] = word.split("=");
    if (!REPEATED.has(name)) return;
    if (value.length) found.push(word);
    else if (given[at + 1] !== undefined) found.push(word, given[at + 1] as string);
  });
  return found.map((one) => ` ${one}`).join("");
}

/** A word as a shell reads it; null if the page does not have it whole. */
export function quoted(word: string): string | null {
  if (/[\\\u2026']/.test(word)) return null;
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word}'`;
}

/** The command that shows a place; null where there is none. */
export function commandOf(place: Place, report: string): string | null {
  const shown = words(place);
  return shown === null ? null : `dregutil ${shown}${repeated(report)}`;
}

function words(place: Place): string | null {
  switch (place.node.kind) {
    case "registry":
      return "du --by namespace";
    case "namespace": {
      const name = quoted(place.node.name ? `${place.node.name}/**` : "*");
      return name === null ? null : `du ${name}`;
    }
    case "repository": {
      const name = quoted(place.name);
      return name === null ? null : `du ${name} --by tag`;
    }
    case "tag": {
      const name = quoted(place.name);
      return name === null ? null : `inspect ${name}`;
    }
    default:
      return null;
  }
}
