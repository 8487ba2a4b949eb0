// Makes the parts of a report interactive that gain by it. What they replace stays in the page, for paper and for
// whoever runs no script.

import { render, type ComponentChild } from "preact";
import { Help, KEYS } from "./Help";
import { read, type Report } from "./model";
import { PlanTables } from "./PlanTables";
import { Space, Tags } from "./Space";
import "./style.css";

function start(report: Report): void {
  put("#space", ".table, svg", (
    <>
      <Space root={report.space.root} command={report.command} />
      <Tags root={report.space.root} />
    </>
  ));
  const { plan } = report;
  if (plan !== null) put("#plan", ".table", <PlanTables plan={plan} />);
  put("header", null, <Help keys={KEYS} />);
}

/** Render into a section, in place of what `replaced` selects there, which only paper shows from then on. */
function put(section: string, replaced: string | null, what: ComponentChild): void {
  const within = document.querySelector(section);
  if (within === null) return;
  const old = replaced === null ? [] : [...within.querySelectorAll(`:scope > :is(${replaced})`)];
  if (replaced !== null && old.length === 0) return;
  const box = document.createElement("div");
  box.className = "on-screen";
  within.insertBefore(box, old[0] ?? null);
  try {
    render(what, box);
  } catch (error) {
    box.remove();
    throw error;
  }
  for (const one of old) one.classList.add("on-paper");
}

const data = document.getElementById("data");
const found = data === null ? null : read(data.textContent ?? "");
if (found !== null) start(found);
