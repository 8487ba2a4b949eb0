// The keys, in a dialog.

import { useEffect, useRef } from "preact/hooks";

export type Keys = readonly (readonly [key: string, what: string])[];

export const KEYS: Keys = [
  ["/", "to the filter, of the part that is on the screen"],
  ["← ↑ → ↓, Home, End", "choose a part of the picture, or a line of its table"],
  ["Enter", "open what is chosen"],
  ["Escape, Backspace", "back to what it is in; in a filter, clear it"],
  ["Tab", "to the next table, filter or button"],
  ["?", "this list"],
];

export function Help({ keys }: { keys: Keys }) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const listen = (event: KeyboardEvent): void => onKey(event, dialog.current);
    document.addEventListener("keydown", listen);
    return () => document.removeEventListener("keydown", listen);
  }, []);
  return (
    <>
      <button type="button" class="live help" onClick={() => dialog.current?.showModal()}>
        Keys ( ? )
      </button>
      <dialog ref={dialog} aria-labelledby="keys-title">
        <h2 id="keys-title">Keys</h2>
        <dl>
          {keys.map(([key, what]) => (
            <div key={key}>
              <dt>{key}</dt>
              <dd>{what}</dd>
            </div>
          ))}
        </dl>
        <form method="dialog">
          <button type="submit">Close</button>
        </form>
      </dialog>
    </>
  );
}

function onKey(event: KeyboardEvent, dialog: HTMLDialogElement | null): void {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target instanceof HTMLInputElement) return;
  if (dialog === null || dialog.open) return;
  if (event.key === "?") dialog.showModal();
  else if (event.key === "/") nearestFilter()?.focus();
  else return;
  event.preventDefault();
}

/** The filter that is on the screen, the highest of them; else the first of the page. */
function nearestFilter(): HTMLInputElement | undefined {
  const filters = [...document.querySelectorAll<HTMLInputElement>("input[type=search]")];
  const isSeen = (one: Element): boolean => {
    const { top, bottom } = one.getBoundingClientRect();
    return top >= 0 && bottom <= innerHeight;
  };
  return filters.find(isSeen) ?? filters[0];
}
