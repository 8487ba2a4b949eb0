"""`index-images`, which `serve` runs: what it needs, what it does without, and that no help names it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dregutil.cli import run
from dregutil.cli.help import overview
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.plan.file import save_plan
from dregutil.plan.model import Action, Plan, PolicySource, Step, StepKind
from dregutil.serve.images.index import ImageIndex
from indexed import NOW, REGISTRY

DIGEST = Digest.of(b"image")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tags.json").write_text(json.dumps({"shop/web": {"1.0": DIGEST, "2.0": DIGEST}}))
    return tmp_path


def indexed(*arguments: str, cache: str = "tags.json") -> int:
    return run(["-reg", REGISTRY, "-c", cache, "--state-dir", "state", "index-images", "--out", "i.sqlite", *arguments])


def rows(folder: Path) -> list[tuple[str, str | None, str | None, int | None]]:
    index = ImageIndex.open(folder / "i.sqlite")
    assert index is not None
    return [(row.tag, row.verdict, row.because, row.frees) for row in index.images([0, 1])]


def test_what_was_not_read_is_not_known(folder: Path) -> None:
    assert indexed() == 0
    assert rows(folder) == [("1.0", None, None, None), ("2.0", None, None, None)]


def test_without_tags_there_is_no_index(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert indexed(cache="None") == 2
    assert indexed(cache="none.json") == 1
    assert "no tags were read yet" in capsys.readouterr().err
    assert not (folder / "i.sqlite").exists()


def test_without_contents_names_are_found(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    contents = folder / "cache" / "dregutil" / "contents.sqlite"
    contents.parent.mkdir(parents=True, mode=0o700)
    contents.write_bytes(b"no database at all, and longer than a header of one would be" * 20)
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    assert indexed() == 0
    assert "sizes, labels and layers are not known" in capsys.readouterr().err
    assert [tag for tag, *_ in rows(folder)] == ["1.0", "2.0"]


def test_a_plan_gives_verdicts(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    step = Step(1, Action.DELETE, Repository("shop/web"), DIGEST, (Tag("1.0"),), StepKind.IMAGE, "p: old")
    policy = folder / "policy.yml"
    save_plan(Plan(REGISTRY, NOW, "cleanup", (step,), policy=PolicySource(str(policy))), folder / "plan.jsonl")
    assert indexed("--plan", "plan.jsonl") == 0
    assert "what the policies keep is not shown" in capsys.readouterr().err
    assert [one[1:3] for one in rows(folder)] == [("REMOVE", "p: old"), ("KEEP", None)]
    assert indexed("--plan", "gone.jsonl") == 0
    assert "there is no plan gone.jsonl" in capsys.readouterr().err
    assert [one[1] for one in rows(folder)] == [None, None]
    save_plan(Plan("other.example.com", NOW, "cleanup", (step,)), folder / "plan.jsonl")
    assert indexed("--plan", "plan.jsonl") == 5


def test_records_that_cannot_be_read_are_warnings(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("holds", "pulls"):
        (folder / "state").mkdir(exist_ok=True)
        (folder / "state" / name).write_text("a file in the place of a folder")
    assert indexed() == 0
    assert [tag for tag, *_ in rows(folder)] == ["1.0", "2.0"]
    assert "Traceback" not in capsys.readouterr().err


def test_no_help_names_it() -> None:
    assert "index-images" not in overview()
