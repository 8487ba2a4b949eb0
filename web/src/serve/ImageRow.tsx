// A row of the images.

import { dayText, sizeOr } from "./format";
import type { Image } from "./model";
import { nameOf } from "./query";
import { wherePath } from "./route";

interface Props {
  at: number;
  image: Image | undefined;
  canSelect: boolean;
  isChosen: boolean;
  isSelected: boolean;
  onChoose: (isRange: boolean) => void;
  onToggle: () => void;
}

export function ImageRow({ at, image, canSelect, isChosen, isSelected, onChoose, onToggle }: Props) {
  return (
    <div
      id={`row-${at}`}
      role="row"
      class={`row${isChosen ? " chosen" : ""}${isSelected ? " selected" : ""}`}
      aria-rowindex={at + 2}
      aria-selected={canSelect ? isSelected : undefined}
      onClick={(event) => onChoose(event.shiftKey)}
    >
      {canSelect && (
        <span
          role="gridcell"
          class="check"
          onClick={(event) => {
            if (!event.shiftKey) onToggle();
          }}
        >
          <span aria-hidden="true" class="box">
            {isSelected ? "\u2713" : ""}
          </span>
          <span class="unseen">{isSelected ? "selected" : "not selected"}</span>
        </span>
      )}
      {image === undefined ? (
        <span role="gridcell" class="cell-image quiet">
          …
        </span>
      ) : (
        <Cells image={image} />
      )}
    </div>
  );
}

function Cells({ image }: { image: Image }) {
  const name = nameOf(image);
  const platforms = image.platforms?.join(", ") ?? "";
  const short = platforms.replaceAll("linux/", ""); // the others are named whole
  const verdict = [image.verdict, image.because].filter(Boolean).join(": ");
  return (
    <>
      <span class="cell-image" title={name}>
        <span role="gridcell">
          <a href={wherePath(name)} tabIndex={-1}>
            {image.repository}
          </a>
        </span>
        <span role="gridcell">
          <a href={wherePath(name)} tabIndex={-1}>
            :<strong>{image.tag}</strong>
          </a>
        </span>
      </span>
      <span role="gridcell" class="cell-made">
        {dayText(image.created)}
      </span>
      <span role="gridcell" class="cell-pulled">
        {dayText(image.pulled)}
      </span>
      <span role="gridcell" class="cell-size n">
        {sizeOr(image.size)}
      </span>
      <span role="gridcell" class="cell-frees n">
        {sizeOr(image.frees)}
      </span>
      <span role="gridcell" class="cell-platforms" title={platforms}>
        {short}
      </span>
      <span role="gridcell" class="cell-verdict" title={verdict}>
        {image.held && <span class="badge">held</span>} {image.verdict && <strong class={`action ${image.verdict}`}>{image.verdict}</strong>}{" "}
        <span class="because">{image.because}</span>
      </span>
    </>
  );
}
