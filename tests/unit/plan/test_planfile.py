"""The plan file: read as it was written, or refused."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dregutil.errors import PlanRefusedError
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.plan.file import decode_plan, encode_plan, plan_sum
from dregutil.plan.model import Action, Grounds, Kept, Plan, PolicySource, Reclaim, RemovalOptions, Step, StepKind

REPOSITORIES = st.sampled_from(["shop/web", "shop/api", "a"]).map(Repository)
DIGESTS = st.integers(0, 30).map(lambda number: Digest(f"sha256:{number:064x}"))
TAGS = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,12}", fullmatch=True).map(Tag)
LISTS = st.dictionaries(st.text(max_size=5), st.floats(0, 1e6), max_size=2).map(lambda found: tuple(found.items()))
NAMED = st.dictionaries(TAGS, st.lists(st.text(max_size=5), max_size=2).map(tuple), max_size=2)
GROUNDS = st.builds(
    Grounds,
    NAMED.map(lambda found: tuple(found.items())),
    NAMED.map(lambda found: tuple(found.items())),
    st.none() | st.datetimes(timezones=st.just(UTC)),
)
POLICIES = st.none() | st.builds(
    PolicySource,
    st.text(max_size=5),
    LISTS,
    st.lists(st.text(max_size=5), max_size=2).map(tuple),
    LISTS.map(lambda found: tuple((name, age, 3) for name, age in found)),
    LISTS,
)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    steps = []
    for number in range(1, draw(st.integers(0, 6)) + 1):
        action = draw(st.sampled_from(Action))
        most = 1 if action is Action.UNTAG else 3
        tags = draw(st.lists(TAGS, min_size=1 if action is Action.UNTAG else 0, max_size=most, unique=True))
        needs = draw(st.lists(st.integers(1, number - 1), max_size=2, unique=True)) if number > 1 else []
        steps.append(
            Step(
                number,
                action,
                draw(REPOSITORIES),
                draw(DIGESTS),
                tuple(tags),
                draw(st.sampled_from(StepKind)),
                draw(st.text(max_size=20)),
                tuple(sorted(needs)),
                tuple(draw(st.lists(st.sampled_from(["linux/amd64", "linux/arm64"]), max_size=2))),
                draw(st.integers(0, 10**12)),
                tuple(draw(st.lists(REPOSITORIES, max_size=2))),
                grounds=draw(GROUNDS),
            )
        )
    return Plan(
        "registry.example.com:5000",
        draw(st.datetimes(timezones=st.just(UTC))),
        draw(st.text(max_size=30)),
        tuple(steps),
        options=draw(st.builds(RemovalOptions, st.booleans(), st.booleans(), st.booleans(), st.booleans())),
        tags_before=draw(st.dictionaries(REPOSITORIES, st.integers(0, 99), max_size=3)),
        reclaim=draw(st.builds(Reclaim, st.integers(0, 10**12), st.booleans(), st.text(max_size=9))),
        names_repositories=draw(st.booleans()),
        policy=draw(POLICIES),
    )


@given(plan=plans())
def test_a_plan_is_read_as_it_was_written(plan: Plan) -> None:
    lines = list(encode_plan(plan))
    assert all(line.endswith(b"\n") and line.count(b"\n") == 1 for line in lines)
    assert decode_plan(lines) == (plan, plan_sum(plan))


@given(plan=plans(), data=st.data())
def test_an_altered_plan_is_refused(plan: Plan, data: st.DataObject) -> None:
    raw = b"".join(encode_plan(plan))
    place = data.draw(st.integers(0, len(raw) - 2))
    value = data.draw(st.integers(0, 255).filter(lambda byte: byte != raw[place]))
    altered = raw[:place] + bytes([value]) + raw[place + 1 :]
    with pytest.raises(PlanRefusedError):
        decode_plan(altered.splitlines(keepends=True))


@given(plan=plans(), data=st.data())
def test_a_truncated_plan_is_refused(plan: Plan, data: st.DataObject) -> None:
    raw = b"".join(encode_plan(plan))
    end = data.draw(st.integers(0, len(raw) - 2))
    with pytest.raises(PlanRefusedError):
        decode_plan(raw[:end].splitlines(keepends=True))


@pytest.mark.parametrize(
    ("line", "change"),
    [
        (0, {"version": 2}),
        (1, {"step": 2}),
        (1, {"needs": [1]}),
        (1, {"needs": [0]}),
        (1, {"action": "erase"}),
        (1, {"kind": "cat"}),
        (1, {"repository": "Not A Name"}),
        (1, {"digest": "sha256:00"}),
        (1, {"tags": ["a b"]}),
        (1, {"action": "untag", "tags": []}),
    ],
)
def test_an_impossible_plan_is_refused_even_with_the_right_checksum(line: int, change: dict[str, Any]) -> None:
    step = Step(1, Action.DELETE, Repository("a"), Digest(f"sha256:{0:064x}"), (Tag("t"),), StepKind.IMAGE, "selected")
    lines = list(encode_plan(Plan("r", datetime(2026, 1, 1, tzinfo=UTC), "", (step,))))
    lines[line] = json.dumps({**json.loads(lines[line]), **change}).encode() + b"\n"
    summed = hashlib.sha256(b"".join(lines[:-1])).hexdigest()
    lines[-1] = json.dumps({"steps": 1, "sha256": summed}).encode() + b"\n"
    with pytest.raises(PlanRefusedError):
        decode_plan(lines)


def test_the_lines_are_those_of_the_contract() -> None:
    step = Step(1, Action.DELETE, Repository("a"), Digest(f"sha256:{0:064x}"), (Tag("t"),), StepKind.IMAGE, "selected")
    kept = (Kept(Repository("a"), step.digest, (Tag("u"), Tag("v")), "also 'stable'"),)
    made = Plan("r", datetime(2026, 1, 1, tzinfo=UTC), "remove-tags", (step,), kept, reclaim=Reclaim(7))
    header, line, trailer = (json.loads(found) for found in encode_plan(made))
    assert header["version"] == 1
    assert header["usage"] == {"reclaimable_bytes": 7, "exact": False}
    assert header["kept"] == {"shared with tags that stay": 2}
    assert {key: line[key] for key in ("step", "needs", "action", "repository", "tags", "kind", "because")} == {
        "step": 1,
        "needs": [],
        "action": "delete",
        "repository": "a",
        "tags": ["t"],
        "kind": "image",
        "because": "selected",
    }
    assert trailer["steps"] == 1
