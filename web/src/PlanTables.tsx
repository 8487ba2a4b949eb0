// The plan: what is different from the last run's, and a row for each reason.

import { useSignal } from "@preact/signals";
import type { Plan, PlanChanges, PlanImage, PlanRow } from "./model";
import type { ComponentChild } from "preact";
import { Table, type Row } from "./Table";
import { numberText, sizeText } from "./text";

const SOME = 5; // images that are named at first

/** What a page adds to an image that would go. */
type Extra = ((image: string) => ComponentChild) | undefined;

export function PlanTables({ plan, extra }: { plan: Plan; extra?: Extra }) {
  const rows: Row[] = plan.groups.flatMap((group) =>
    group.rows.map((row) => {
      const number = row.tags + row.untagged;
      return {
        cells: [
          { text: group.repository },
          { text: row.action, shown: <Action action={row.action} /> },
          { text: numberText(number), by: number },
          { text: row.action === "KEEP" ? "" : sizeText(row.frees), by: row.action === "KEEP" ? -1 : row.frees },
          { text: row.because },
          { text: row.images.map(nameOf).join(" "), shown: <Images row={row} repository={group.repository} extra={row.action === "KEEP" ? undefined : extra} /> },
          { text: group.policy ?? "-" },
        ],
      };
    }),
  );
  const left = plan.groups_left_out;
  return (
    <>
      {plan.changes !== null && <Changes changes={plan.changes} extra={extra} />}
      {rows.length > 0 && (
        <Table
          caption={`By policy and repository${left ? `; ${numberText(left)} that remove the least are not shown` : ""}`}
          columns={[
            { title: "Repository" },
            { title: "Action" },
            { title: "Tags", isNumber: true },
            { title: "Frees", isNumber: true },
            { title: "Because" },
            { title: "Images" },
            { title: "Policy" },
          ]}
          rows={rows}
          most={40}
        />
      )}
    </>
  );
}

function Changes({ changes, extra }: { changes: PlanChanges; extra: Extra }) {
  const counts = `${numberText(changes.new)} new to go, ${numberText(changes.moved)} from another digest, ${numberText(changes.no_longer)} no longer to go`;
  const more = changes.left_out ? `; ${numberText(changes.left_out)} are not shown` : "";
  const rows: Row[] = changes.rows.map((one) => {
    const action = one.change === "no longer to go" ? "KEEP" : "REMOVE";
    const name = one.tag === null ? `${one.repository}@${one.digest.slice(0, 19)}` : `${one.repository}:${one.tag}`;
    const isHeld = extra !== undefined && action === "REMOVE" && one.tag !== null;
    return {
      cells: [
        { text: name, ...(isHeld ? { shown: [name, " ", extra(name)] } : {}) },
        { text: action, shown: <Action action={action} /> },
        { text: sizeText(one.frees), by: one.frees },
        { text: one.change },
      ],
    };
  });
  if (rows.length === 0) return <p class="live">{`Since the run ${changes.run}: nothing is different.`}</p>;
  return (
    <Table
      caption={`Since the run ${changes.run} of ${changes.when.slice(0, 16).replace("T", " ")} UTC: ${counts}${more}`}
      columns={[{ title: "Image" }, { title: "Action" }, { title: "Frees", isNumber: true }, { title: "What" }]}
      rows={rows}
      most={20}
    />
  );
}

function Action({ action }: { action: PlanRow["action"] }) {
  return <strong class={`action ${action}`}>{action}</strong>;
}

function Images({ row, repository, extra }: { row: PlanRow; repository: string; extra: Extra }) {
  const all = useSignal(false);
  const names = row.images.map(nameOf);
  const shown = all.value ? names : names.slice(0, SOME);
  const named = row.images.reduce((sum, one) => sum + Math.max(1, one.tags.length), 0);
  const left = row.tags + row.untagged - named;
  return (
    <>
      {extra === undefined ? shown.join(", ") : row.images.slice(0, shown.length).map((one) => <Extended key={one.digest} image={one} repository={repository} extra={extra} />)}
      {shown.length < names.length && (
        <>
          {" "}
          <button type="button" class="more" onClick={() => (all.value = true)}>
            {numberText(names.length - shown.length)} more images
          </button>
        </>
      )}
      {left > 0 && names.length > 0 && ` and ${numberText(left)} more, not named`}
    </>
  );
}

/** An image in a line of its own, with what the page adds to each of its tags. */
function Extended({ image, repository, extra }: { image: PlanImage; repository: string; extra: NonNullable<Extra> }) {
  if (image.tags.length === 0) return <div>{nameOf(image)}</div>;
  return (
    <>
      {image.tags.map((tag) => (
        <div key={tag}>
          {tag} {extra(`${repository}:${tag}`)}
        </div>
      ))}
    </>
  );
}

function nameOf(image: PlanImage): string {
  return image.tags.length ? image.tags.join(", ") : image.digest.slice(0, 19);
}
