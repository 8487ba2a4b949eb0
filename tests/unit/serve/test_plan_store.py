"""Plans on the disk: whole or not there, for their owner alone, the same after a restart."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from dregutil.errors import DregutilError, JournalError, NotFoundError, PlanRefusedError
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.pages.limits import Limits
from dregutil.pages.page import encoded
from dregutil.pages.plan import PlanFound, plan_part
from dregutil.plan.file import plan_sum, write_plan
from dregutil.plan.model import Action, Plan, Step, StepKind
from dregutil.serve.plan_store import Approval, PlanStore, StoredPlan, examined, parse_sum

NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
WEB = Repository("shop/web")


def plan(number: int = 2, made: datetime = NOW) -> Plan:
    steps = tuple(
        Step(place, Action.DELETE, WEB, Digest.of(f"{place}".encode()), (Tag(f"1.{place}"),), StepKind.IMAGE, "x")
        for place in range(1, number + 1)
    )
    return Plan("registry.example.com", made, "remove-tags", steps, tags_before={WEB: number + 1})


@pytest.fixture
def store(tmp_path: Path) -> PlanStore:
    found = PlanStore(tmp_path / "plans")
    found.load()
    return found


def added(store: PlanStore, made: Plan, by: str | None = "ann") -> StoredPlan:
    file, page = store.folder.parent / "new.jsonl", store.folder.parent / "new.page"
    write_plan(file, made)
    page.write_text(encoded(plan_part(PlanFound("x", is_file=True, plan=made), Limits())))
    return store.add(file, page, title="shop/web", kind="selection", by=by)


def again(store: PlanStore) -> PlanStore:
    found = PlanStore(store.folder)
    found.load()
    return found


def test_a_plan_is_there_after_a_restart_with_its_approvals(store: PlanStore) -> None:
    found = added(store, plan())
    assert (found.sum, found.tags, found.steps, found.confirm_tags) == (plan_sum(plan()), 2, 2, None)
    approval = Approval(by="bob", when=NOW, plan=found.sum)
    store.put(msgspec.structs.replace(found, approvals=[approval]))
    later = again(store)
    assert later.all == store.all
    assert later.get(found.sum).approvals == [approval]
    assert later.get(found.sum.partition(":")[2]).sum == found.sum
    assert later.page(found.sum).sum == found.sum


def test_only_its_owner_may_read_it(store: PlanStore) -> None:
    added(store, plan())
    for path in (store.folder, *store.folder.iterdir()):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_a_plan_that_removes_most_needs_a_number(store: PlanStore) -> None:
    found = added(store, plan(60))
    assert (found.most_of, found.confirm_tags) == ([WEB], 60)


@pytest.mark.parametrize(
    "name", ["", "../x", "sha256:" + "A" * 64, "a" * 63, "a" * 65, "sha256:../" + "a" * 61, "a" * 64 + "\n", "md5:x"]
)
def test_what_is_no_sum_names_no_file(store: PlanStore, name: str) -> None:
    assert parse_sum(name) is None
    for call in (store.get, store.file, store.page, store.remove):
        with pytest.raises(NotFoundError):
            call(name)


def test_a_file_that_changed_is_refused(store: PlanStore) -> None:
    found = added(store, plan())
    store.check(found.sum)
    path = store.file(found.sum)
    whole = path.read_bytes()
    for changed in (whole.replace(b"1.1", b"1.9"), whole[:-20], b"", whole + b"{}\n", b"[" * 3_000):
        path.write_bytes(changed)
        with pytest.raises(PlanRefusedError):
            store.check(found.sum)
    write_plan(path, plan(3))  # whole, and another
    with pytest.raises(PlanRefusedError, match="has changed"):
        store.check(found.sum)
    path.unlink()
    with pytest.raises(PlanRefusedError, match="cannot be read"):
        store.check(found.sum)
    assert again(store).all == []


def test_a_plan_is_shown_with_what_a_newer_one_says(store: PlanStore) -> None:
    """One that removes the same, and keeps something else, or for another reason."""
    kept = added(store, plan())
    newer = added(store, replace(plan(made=NOW + timedelta(hours=1)), left_out={Repository("shop/api"): "unread"}))
    assert (newer.sum != kept.sum, newer.effect) == (True, kept.effect)
    store.renew(kept.sum, newer.sum)
    store.remove(newer.sum)
    for one in (store, again(store)):
        page = one.page(kept.sum)
        assert page.left_out == {"shop/api": "unread"}
        assert (page.sum, page.made) == (kept.sum, NOW)
        one.check(kept.sum)
    assert stat.S_IMODE(store._path(kept.sum, ".page").stat().st_mode) == 0o600


def test_the_effect_of_a_plan_is_that_of_its_steps(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("one", "later", "other")]
    for path, made in zip(paths, (plan(), plan(made=NOW + timedelta(hours=1)), plan(3)), strict=True):
        write_plan(path, made)
    one, later, other = (examined(path) for path in paths)
    assert one[0] != later[0]
    assert one[1:] == later[1:]
    assert other[1] != one[1]
    turned = plan().steps[::-1]
    write_plan(paths[0], replace(plan(), steps=tuple(replace(step, number=n) for n, step in enumerate(turned, 1))))
    assert examined(paths[0])[1] == one[1], "in another order, the same goes"
    empty = tmp_path / "empty"
    write_plan(empty, replace(plan(), steps=()))
    assert examined(empty)[2] == 0


def test_the_reasons_of_another_plan_are_refused(store: PlanStore, tmp_path: Path) -> None:
    write_plan(tmp_path / "a", plan())
    (tmp_path / "b").write_text(encoded(plan_part(PlanFound("x", is_file=True, plan=plan(3)), Limits())))
    with pytest.raises(PlanRefusedError, match="do not belong together"):
        store.add(tmp_path / "a", tmp_path / "b", title="x", kind="policy", by=None)
    assert store.all == []


def test_what_a_crash_left_is_no_plan(store: PlanStore) -> None:
    found = added(store, plan())
    name = found.sum.partition(":")[2]
    for left in (f"{'b' * 64}.jsonl", f"{'c' * 64}.json", f".{name}.json.x1y2", f"{'d' * 64}.page"):
        (store.folder / left).write_text("{")
    assert [one.sum for one in again(store).all] == [found.sum]
    assert {path.name for path in store.folder.iterdir()} == {f"{name}{one}" for one in (".json", ".jsonl", ".page")}
    (store.folder / f"{name}.json").write_text("{}")
    assert again(store).all == []


def test_what_cannot_be_written_did_not_happen(store: PlanStore, monkeypatch: pytest.MonkeyPatch) -> None:
    found = added(store, plan())

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dregutil.serve.plan_store.write_atomically", full)
    with pytest.raises(JournalError, match="No space left"):
        store.put(msgspec.structs.replace(found, run="x"))
    assert store.get(found.sum).run is None


def test_old_plans_go_and_those_in_use_stay(store: PlanStore) -> None:
    made = [added(store, plan(made=NOW - timedelta(days=day))) for day in (40, 31, 2, 1)]
    store.put(msgspec.structs.replace(made[2], replaced=NOW - timedelta(days=1, seconds=1)))
    for name, days in (("old.images", 31), ("new.images", 1)):
        (store.folder / name).touch()
        when = (NOW - timedelta(days=days)).timestamp()
        os.utime(store.folder / name, (when, when))
    store.prune(NOW, kept={made[0].sum})
    assert [one.sum for one in store.all] == [made[3].sum, made[0].sum]
    assert [path.name for path in store.folder.glob("*.images")] == ["new.images"]
    assert len(again(store).all) == 2


def test_there_are_at_most_200(store: PlanStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dregutil.serve.plan_store._MOST", 3)
    made = [added(store, plan(made=NOW - timedelta(hours=hour))) for hour in range(5)]
    store.prune(NOW, kept={made[4].sum})
    assert [one.sum for one in store.all] == [made[0].sum, made[1].sum, made[4].sum]


def test_a_page_that_cannot_be_read_is_an_error_with_advice(store: PlanStore) -> None:
    found = added(store, plan())
    (store.folder / f"{found.sum.partition(':')[2]}.page").write_text("[]")
    with pytest.raises(DregutilError, match="reasons of the plan"):
        store.page(found.sum)
