"""What the records say of the runs of a registry, and the lists that commands make of them."""

from __future__ import annotations

import asyncio
import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dregutil.errors import JournalError
from dregutil.journal.store import RunStore
from dregutil.oci.manifest import OCI_MANIFEST, parse_manifest
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.plan.file import plan_sum
from dregutil.plan.model import Action, Plan, Step, StepKind
from dregutil.plan.outcome import Intent, Outcome, Result
from dregutil.serve.listed import Listed, shown
from dregutil.serve.program import Program
from dregutil.serve.records import Records

NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
REGISTRY = "registry.example.com"
WEB = Repository("shop/web")


def plan(number: int, registry: str = REGISTRY) -> Plan:
    steps = (
        Step(1, Action.DELETE, WEB, Digest.of(b"%d" % number), (Tag(f"1.{number}"),), StepKind.IMAGE, "x"),
        Step(2, Action.DELETE, WEB, Digest.of(b"other %d" % number), (Tag(f"2.{number}"),), StepKind.IMAGE, "x"),
    )
    return Plan(registry, NOW + timedelta(seconds=number), "remove-tags", steps)


def recorded(state: Path, number: int, *, ended: bool = True, registry: str = REGISTRY, undoes: str = "") -> str:
    """The name of a run whose first step ended."""
    made = plan(number, registry)
    journal = RunStore(state).begin(made, NOW + timedelta(seconds=number), undoes=undoes)

    async def work() -> None:
        raw = json.dumps({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "layers": [], "n": number}).encode()
        await journal.intend(Intent(1, WEB, (Tag("1.0"),), parse_manifest(raw, OCI_MANIFEST, Digest.of(raw))))
        journal.outcome(Outcome(made.steps[0], Result.REMOVED, ""))
        await journal.flush()

    asyncio.run(work())
    journal.close(NOW if ended else None)
    return journal.run


def test_a_plan_is_found_with_its_run_whatever_happened_to_that(tmp_path: Path) -> None:
    records = Records(RunStore(tmp_path), REGISTRY)
    finished, cut_off = recorded(tmp_path, 1), recorded(tmp_path, 2, ended=False)
    recorded(tmp_path, 3, registry="other.example.com")
    found = {sum_: (one.header.run, one.state) for sum_, one in records.by_plan().items()}
    assert found == {plan_sum(plan(1)): (finished, "finished"), plan_sum(plan(2)): (cut_off, "unfinished")}
    with records.store.lock(REGISTRY):
        assert records.is_busy()
        assert [one.state for one in records.runs()] == ["finished", "running"]
    assert not records.is_busy()
    assert records.continues(cut_off) == ["apply", "--resume", cut_off]
    assert records.continues(finished) is None
    assert records.find(cut_off[:-1]) is None, "only whole names"


def test_what_is_recorded_later_is_seen(tmp_path: Path) -> None:
    records = Records(RunStore(tmp_path), REGISTRY)
    assert list(records.runs()) == []
    before = records.mark()
    run = recorded(tmp_path, 1, ended=False)
    assert records.mark() != before
    assert [one.state for one in records.runs()] == ["unfinished"]
    (tmp_path / "runs" / run / "ended").touch()
    assert [one.state for one in records.runs()] == ["finished"]
    cut_off = recorded(tmp_path, 3, undoes=run, ended=False)
    assert records.continues(cut_off) == ["undo", run]
    undo = recorded(tmp_path, 2, undoes=run)
    assert (records.undo_of(run), records.undo_of(undo)) == (undo, None)
    assert [*records.by_plan()] == [plan_sum(plan(1))]


def test_progress_is_counted_while_lines_are_written(tmp_path: Path) -> None:
    records = Records(RunStore(tmp_path), REGISTRY)
    run = recorded(tmp_path, 1, ended=False)
    path = tmp_path / "runs" / run / "journal.jsonl"
    line = next(one for one in path.read_bytes().splitlines(keepends=True) if b'"type":"outcome"' in one)
    assert records.outcomes(run) == 1
    with path.open("ab") as file:
        file.write(line[:-5])
        file.flush()
        assert records.outcomes(run) == 1
        file.write(line[-5:] + line)
        file.flush()
        assert records.outcomes(run) == 3
    assert records.outcomes("nothing") == 0


SCRIPT = """
import os, sys
from pathlib import Path
with open(os.environ["SAID"], "a") as said:
    said.write("x")
if "FAILS" in os.environ:
    print("dregutil: it is broken\\n  mend it", file=sys.stderr); sys.exit(1)
print(Path(os.environ["ROWS"]).read_text(), end="")
"""


def listed(folder: Path, mark: list[int], **environment: str) -> Listed:
    given = {"SAID": str(folder / "said"), "ROWS": str(folder / "rows"), **environment}
    program = Program((), given, " ".join, (sys.executable, "-c", SCRIPT))
    return Listed(program, ("history",), folder, lambda: mark[0])


def files(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


async def test_a_list_is_made_again_only_when_the_records_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dregutil.serve.listed._SECONDS", 0.0)
    monkeypatch.setattr("dregutil.serve.listed._RESTS", 0.0)
    mark = [1]
    (tmp_path / "rows").write_text("".join(f'{{"n":{n},"image":"a:{n}"}}\n' for n in range(5)))
    one = listed(tmp_path, mark)
    parts = await asyncio.gather(*(one.part(1, 2) for _ in range(10)))
    assert all((part.total, [row["n"] for row in part.rows]) == (5, [1, 2]) for part in parts)
    newest = await one.part(1, 2, newest_first=True, matches=lambda row: row["n"] != 3)
    assert (newest.total, [row["n"] for row in newest.rows]) == (4, [2, 1])
    assert (await one.part(9, 2)).rows == []
    assert (tmp_path / "said").read_text() == "x"
    mark[0] = 2
    (tmp_path / "rows").write_text("")
    assert (await one.part()).total == 0
    assert (tmp_path / "said").read_text() == "xx"


async def test_a_list_is_not_made_again_and_again_while_a_run_changes_it(tmp_path: Path) -> None:
    mark = [1]
    (tmp_path / "rows").write_text("")
    one = listed(tmp_path, mark)
    for number in range(5):
        mark[0] = number
        await one.part()
    assert (tmp_path / "said").read_text() == "x"
    one.changed()  # the run has ended
    await one.part()
    assert (tmp_path / "said").read_text() == "xx"


async def test_a_list_that_cannot_be_made_is_an_error_with_advice(tmp_path: Path) -> None:
    one = listed(tmp_path, [1], FAILS="1")
    with pytest.raises(JournalError, match="it is broken") as caught:
        await one.part()
    assert caught.value.advice == "mend it"
    assert files(tmp_path) == ["said"]


def test_texts_of_others_are_escaped_wherever_they_are() -> None:
    row = {"image": "a\u202e:1", "tags": ["<b>", "\x1b[31m"], "left_out": {"b\nc": "d\te"}, "n": 1, "none": None}
    found = shown(row)
    text = json.dumps(found, ensure_ascii=False)
    assert not any(character in text for character in "\u202e\x1b\n\t")
    assert (found["n"], found["none"], found["tags"][0]) == (1, None, "<b>")
    assert shown("r" * 255 + ":" + "t" * 128) == "r" * 255 + ":" + "t" * 128, "names are whole"
