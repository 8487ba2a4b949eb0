"""The lines of a record as rows of a store, byte for byte."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dregutil.errors import JournalError, UsageError
from dregutil.journal.lines import (
    FILE_NAME,
    EndLine,
    IntentLine,
    Line,
    OutcomeLine,
    RunLine,
    StepLine,
    TornLine,
    decode_line,
    encode_line,
)
from dregutil.journal.reader import ENDED, read_journal
from dregutil.journal.record import RunRecord
from dregutil.oci.names import Repository
from dregutil.plan.file import decode_step
from dregutil.plan.outcome import Intent

__all__ = ["DAMAGED", "Row", "rows_of"]

DAMAGED = "damaged"  # the kind of a line that cannot be read
_BEFORE_THE_FIRST_REQUEST = (RunLine, StepLine, TornLine)


@dataclass(frozen=True, slots=True)
class Row:
    """A line: its kind, the repository and the step that it is about, if any, and its bytes."""

    kind: str
    body: bytes
    repository: str = ""
    step: int | None = None


def rows_of(record: RunRecord) -> Iterator[Row]:
    """The lines of a record that was read from a folder, as a store has them. Raises JournalError.

    What the record has from its layout, because its lines are damaged, comes as lines before the first request, and the
    empty file that says that the run has ended as a last line.
    """
    repositories = {step.number: step.repository for step in record.plan.steps}
    recovered = _recovered(record)
    last: Line | None = None
    try:
        with (record.folder / FILE_NAME).open("rb") as file:
            for raw in file:
                if not raw.strip(b"\0\n"):
                    continue  # the file grew, and its content did not reach the disk
                line = decode_line(raw)
                if line is None and not raw.endswith(b"\n"):
                    continue  # it was cut off: its request was not sent
                if recovered and line is not None and not isinstance(line, _BEFORE_THE_FIRST_REQUEST):
                    yield from recovered
                    recovered = []
                last = line
                yield _row(line, raw if raw.endswith(b"\n") else raw + b"\n", repositories)
    except OSError as error:
        raise JournalError(f"the record of {record.run} cannot be read: {error.strerror or error}") from error
    yield from recovered
    if record.finished is not None and not isinstance(last, EndLine) and (record.folder / ENDED).exists():
        yield Row("end", encode_line(EndLine(record.finished)))


def _row(line: Line | None, raw: bytes, repositories: dict[int, Repository]) -> Row:
    if line is None:
        return Row(DAMAGED, raw)
    kind = str(line.__struct_config__.tag)
    step: int | None = getattr(line, "step", None)
    name = str(getattr(line, "repository", ""))
    if isinstance(line, OutcomeLine):
        name = str(repositories.get(line.step, ""))
    if isinstance(line, StepLine):
        step, name = _of_step(line)
    try:
        return Row(kind, raw, str(Repository.parse(name)) if name else "", step)
    except UsageError:
        return Row(DAMAGED, raw)


def _of_step(line: StepLine) -> tuple[int | None, str]:
    try:
        step = decode_step(bytes(line.plan))
    except (UsageError, ValueError):
        return None, ""
    return step.number, str(step.repository)


def _recovered(record: RunRecord) -> list[Row]:
    """The intents that only the layout of a damaged record has."""
    if not record.damaged:
        return []
    read = read_journal(record.folder).intents
    return [_intent_row(intent) for intent in record.intents[len(read) :]]


def _intent_row(intent: Intent) -> Row:
    line = IntentLine(
        step=intent.step,
        repository=intent.repository,
        tags=list(intent.tags),
        digest=intent.manifest.digest,
        media_type=intent.manifest.media_type,
        raw=intent.manifest.raw,
    )
    return Row("intent", encode_line(line), str(intent.repository), intent.step)
