"""The rows of a plan: in version order, what goes along below its image, the bytes of both together."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from dregutil.oci.names import Digest, Repository, Tag
from dregutil.plan.along import along_of, freed_with
from dregutil.plan.diff import Change, plan_changes
from dregutil.plan.file import decode_plan, encode_plan
from dregutil.plan.model import Action, Kept, Plan, Reclaim, Step, StepKind
from dregutil.report.layout import cells
from dregutil.report.plan_diff import change_lines
from dregutil.report.removal import going_text, plan_lines

NOW = datetime(2026, 6, 1, tzinfo=UTC)
WEB = Repository("shop/web")


def digest(number: int) -> Digest:
    return Digest(f"sha256:{bytes([number]).hex() * 32}")


def step(
    number: int,
    *tags: str,
    kind: StepKind = StepKind.IMAGE,
    needs: tuple[int, ...] = (),
    frees: int = 100,
    because: str = "selected",
    repository: Repository = WEB,
    digest_number: int | None = None,
) -> Step:
    created = NOW if kind in (StepKind.IMAGE, StepKind.INDEX) else None
    return Step(
        number,
        Action.DELETE,
        repository,
        digest(number if digest_number is None else digest_number),
        tuple(map(Tag, tags)),
        kind,
        because,
        needs,
        ("linux/amd64", "linux/arm64") if kind is StepKind.INDEX else (),
        1000,
        frees=frees,
        created=created,
    )


def plan(*steps: Step, kept: tuple[Kept, ...] = (), before: int = 20) -> Plan:
    freed = sum(one.frees for one in steps)
    counts = {one.repository: before for one in steps}
    return Plan("registry.example.com", NOW, "remove-tags", steps, kept, tags_before=counts, reclaim=Reclaim(freed))


INDEX = step(2, "1.0", kind=StepKind.INDEX, frees=10)
CHILD = step(3, kind=StepKind.CHILD, needs=(2,), because="child of sha256:000000000002", frees=20)
SIGNATURE = step(
    4,
    f"sha256-{digest(2).hex}.sig",
    kind=StepKind.REFERRER,
    needs=(2,),
    because="refers to sha256:000000000002",
    frees=30,
)
ATTESTATION = step(5, kind=StepKind.REFERRER, needs=(4,), because="refers to sha256:000000000004", frees=40)


def test_what_goes_along_is_below_its_image_and_summed_there() -> None:
    found = plan(step(1, "1.10"), INDEX, CHILD, SIGNATURE, ATTESTATION)
    lines = list(plan_lines(found, width=80))
    assert lines[:6] == [
        "        DIGEST        TAGS                WHAT         CREATED       SIZE  FREES",
        "REMOVE  020202020202  1.0                 2 platforms  2026-06-01  1.0 kB  100 B",
        "  +     030303030303                      child                    1.0 kB",
        "  +     040404040404  sha256-02…202….sig  signature                1.0 kB",
        "  +     050505050505                      referrer                 1.0 kB",
        "REMOVE  010101010101  1.10                image        2026-06-01  1.0 kB  100 B",
    ]
    assert [line.split()[2] for line in lines if line.startswith("REMOVE")] == ["1.0", "1.10"]
    assert "2 tags and 1 signature tag to go, 0 held back" in lines


def test_each_repository_is_summed_up_the_one_that_frees_most_first() -> None:
    api = Repository("shop/api")
    found = plan(
        step(1, "1.0"),
        step(2, "1.0", "latest", repository=api, frees=5000),
        kept=(Kept(WEB, digest(9), (Tag("1.1"),), "also 'stable'"),),
    )
    lines = list(plan_lines(found, width=80))
    place = next(place for place, line in enumerate(lines) if line.startswith("REPOSITORY"))
    assert [line.split() for line in lines[place : place + 3]] == [
        ["REPOSITORY", "TAGS", "TO", "GO", "HELD", "BACK", "FREES"],
        ["shop/api", "2", "of", "20", "0", "5.0", "kB"],
        ["shop/web", "1", "of", "20", "1", "100", "B"],
    ]


def test_only_the_first_rows_are_shown_if_there_are_many() -> None:
    found = plan(*(step(number, f"1.{number}") for number in range(1, 60)))
    lines = list(plan_lines(found, width=80, most=50))
    assert sum(line.startswith("REMOVE") for line in lines) == 50
    assert "… and 9 more: --details" in lines
    assert "59 tags to go, 0 held back" in lines


NAMES = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,60}", fullmatch=True)


@st.composite
def steps(draw: st.DrawFn) -> tuple[Step, ...]:
    found: list[Step] = []
    for number in range(1, draw(st.integers(1, 8)) + 1):
        needs = (draw(st.integers(1, number - 1)),) if number > 1 and draw(st.booleans()) else ()
        kind = draw(st.sampled_from((StepKind.CHILD, StepKind.REFERRER))) if needs else StepKind.INDEX
        repository = found[needs[0] - 1].repository if needs else draw(st.sampled_from((WEB, Repository("a/b"))))
        tags = draw(st.lists(NAMES, max_size=3, unique=True))
        found.append(step(number, *tags, kind=kind, needs=needs, repository=repository, frees=draw(st.integers(0, 9))))
    return tuple(found)


@given(steps(), st.integers(80, 160))
def test_every_step_has_a_row_and_no_byte_is_counted_twice(found: tuple[Step, ...], width: int) -> None:
    made = plan(*found)
    lines = list(plan_lines(made, width=width))
    rows = [line for line in lines if line.startswith(("REMOVE", "  +"))]
    assert len(rows) == len(found)
    assert sum(freed_with(found).values()) == sum(one.frees for one in found)
    assert len([line for line in rows if line.startswith("  +")]) == len(along_of(found))
    tables = ("REMOVE", "  +", "REPOSITORY", "shop", "a/b")
    assert all(cells(line) <= width for line in lines if line.startswith(tables))
    assert going_text(found) in "\n".join(lines)


def test_the_date_of_a_step_is_in_the_saved_plan() -> None:
    found = plan(step(1, "1.0"), CHILD)
    read, _ = decode_plan(encode_plan(replace_needs(found)))
    assert [one.created for one in read.steps] == [NOW, None]


def replace_needs(found: Plan) -> Plan:
    return plan(found.steps[0], step(2, kind=StepKind.CHILD, needs=(1,)))


def test_a_saved_plan_says_how_much_was_held_back() -> None:
    kept = (Kept(WEB, digest(9), (Tag("1.1"), Tag("1.2")), "also 'stable'"),)
    read, sum_ = decode_plan(encode_plan(plan(step(1, "1.0"), kept=kept)))
    assert read.kept_before == {"shared with tags that stay": 2}
    assert "1 tag to go, 2 held back" in plan_lines(read)
    again, same = decode_plan(encode_plan(read))
    assert (again, same) == (read, sum_)


def test_the_difference_of_two_plans_begins_with_the_largest_surprise() -> None:
    old = plan(step(1, "1.0"), step(2, "1.1"), step(3, "2.0"), step(4))
    new = plan(
        step(1, "1.0"),
        step(2, "1.1", digest_number=77),
        step(3, "3.0", frees=5),
        step(4, "3.1", frees=500),
        step(5, kind=StepKind.CHILD, needs=(3,), frees=900),
    )
    changes = plan_changes(old, new)
    assert [(one.change, one.tag, one.frees) for one in changes] == [
        (Change.NEW, "3.0", 905),
        (Change.NEW, "3.1", 500),
        (Change.OTHER, "1.1", 100),
        (Change.NO_LONGER, None, 100),
        (Change.NO_LONGER, "2.0", 100),
    ]
    lines = list(change_lines(old, new, changes, width=80))
    assert [line.split()[0] for line in lines[1:6]] == ["REMOVE"] * 3 + ["KEEP"] * 2
    assert lines[-2:] == [
        "old: 3 tags and 1 untagged manifest, 400 B, made 2026-06-01 00:00 UTC",
        "new: 4 tags, 1.6 kB, made 2026-06-01 00:00 UTC",
    ]


@given(steps(), steps())
def test_a_difference_turned_round_is_its_opposite(first: tuple[Step, ...], second: tuple[Step, ...]) -> None:
    old, new = plan(*first), plan(*second)
    there, back = (Counter(one.change for one in plan_changes(*two)) for two in ((old, new), (new, old)))
    assert there[Change.NEW] == back[Change.NO_LONGER]
    assert there[Change.NO_LONGER] == back[Change.NEW]
    assert plan_changes(old, old) == ()
