"""A run was killed while tags were on its placeholder: no command treats it as an image, and no copy of it is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from dregutil.apply import sweep
from dregutil.plan.model import RemovalOptions
from images import IMAGE, Pusher
from program import Program
from removing import Removing
from servers import DistributionServer


@pytest.fixture
def program(registry_server: DistributionServer, tmp_path: Path) -> Program:
    return Program(registry_server.url, tmp_path)


@pytest.fixture
def removing(registry_server: DistributionServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Removing:
    monkeypatch.setattr(sweep, "tags_first_pays", lambda _, __: True)
    return Removing(registry_server.url, tmp_path / "state")


async def killed_in_the_sweep(removing: Removing, pusher: Pusher, number: int = 4) -> dict[str, str]:
    """Push images `b0`, `b1`…, and kill their removal once all their tags are on a placeholder. Return the previous
    tags; `keep` stays."""
    for place in range(number):
        pusher.push_image("r", f"b{place}", seed=str(place))
    pusher.push_image("r", "keep", seed="keep")
    before = pusher.tags("r")
    doomed = sorted(before.keys() - {"keep"})
    plan = await removing.plan(*doomed)
    for kill_after in range(100):
        assert await removing.apply(plan, kill_after=kill_after) is None
        now = pusher.tags("r")
        on_placeholder = {now[tag] for tag in doomed} - set(before.values())
        if len(on_placeholder) == 1 and len({now[tag] for tag in doomed}) == 1:
            return before
        if now != before:
            await removing.undo()
    raise AssertionError("the tags never were on a placeholder all together")


async def killed_while_untagging(removing: Removing, pusher: Pusher) -> dict[str, str]:
    """Kill a run that removes the tag `b0` from its image, which also has `stable`, once the tag is on the
    placeholder."""
    pusher.push_image("r", "b0", "stable", seed="one")
    before = pusher.tags("r")
    plan = await removing.plan("b0", options=RemovalOptions(untag=True))
    for kill_after in range(100):
        assert await removing.apply(plan, kill_after=kill_after) is None
        now = pusher.tags("r")
        if now.get("b0") not in (before["b0"], None):
            return before
        if now != before:
            await removing.undo()
    raise AssertionError("the tag never was on a placeholder")


def copy(pusher: Pusher, tag: str, to: str) -> None:
    pusher.push_manifest("r", to, pusher.raw("r", tag), IMAGE)


def command(removing: Removing, how: str) -> tuple[str, ...]:
    run = removing.record().run
    return ("undo", run, "-y") if how == "undo" else ("apply", "--resume", run, "-y")


@pytest.mark.parametrize("how", ["undo", "resume"])
async def test_a_copy_of_the_only_tag_gets_its_image(
    program: Program, removing: Removing, pusher: Pusher, how: str
) -> None:
    before = await killed_while_untagging(removing, pusher)
    copy(pusher, "b0", "prod")
    found = program.run(*command(removing, how))
    assert found.returncode == 0, found.stderr
    stays = before if how == "undo" else {"stable": before["stable"]}
    assert pusher.tags("r") == {**stays, "prod": before["b0"]}
    assert pusher.is_whole("r", "prod")
    assert (
        how == "resume"
        or f"r:prod was copied from a tag of the interrupted run, and names {before['b0'][:19]} now" in (found.stderr)
    )


@pytest.mark.parametrize("how", ["undo", "resume"])
async def test_a_copy_with_several_possible_images_is_reported_and_stays(
    program: Program, removing: Removing, pusher: Pusher, how: str
) -> None:
    before = await killed_in_the_sweep(removing, pusher)
    copy(pusher, "b2", "prod")
    goes_on = command(removing, how)
    found = program.run(*goes_on)
    assert found.returncode == 3, found.stderr
    assert "r:prod was copied from a tag of the interrupted run; it may stand for sha256:" in found.stderr
    assert "push to that tag what it is to name, or delete the tag" in found.stderr
    assert f"unfinished: `dregutil {' '.join(goes_on[:-1])}{program.named}` continues it" in found.stderr
    now = pusher.tags("r")
    assert now.keys() == {*before, "prod"}
    assert {tag: now[tag] for tag in before} == before

    copy(pusher, "b2", "prod")  # what the advice says
    again = program.run(*goes_on)
    assert again.returncode == 0, again.stderr
    assert not pusher.has("r", now["prod"])
    stays = before if how == "undo" else {tag: before[tag] for tag in ("b2", "keep")}
    after = pusher.tags("r")
    assert {tag: after.get(tag) for tag in (*stays, "prod")} == {**stays, "prod": before["b2"]}
    assert all(pusher.is_whole("r", tag) for tag in after)


POLICY = "version: 1\npolicies:\n  - name: all\n    repositories: ['*']\n    keep: {last: 2}\n    min_age: 0s\n"


@pytest.fixture
async def left_behind(removing: Removing, pusher: Pusher) -> tuple[dict[str, str], str]:
    """The tags before a run was killed with `b0` to `b3` on its placeholder, and that run."""
    before = await killed_in_the_sweep(removing, pusher)
    return before, removing.record().run


def check_named(errors: str, run: str) -> None:
    assert f"left by the interrupted run {run}: `dregutil apply --resume {run}" in errors
    assert f" or `dregutil undo {run}" in errors


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("doctor",), 3),
        (("inspect", "r:b0"), 3),
        (("du",), 0),
        (("remove-tags", "-r", "r", "-t", "b0", "--dry-run"), 0),
        (("remove-tags", "-r", "r", "-t", "b0"), 0),
        (("remove-tags", "-r", "r", "-t", "b0", "--untag"), 0),
        (("remove-repos", "-r", "r", "--dry-run"), 0),
        (("cleanup", "-f", "policy.yml", "--dry-run"), 3),
        (("cleanup", "-f", "policy.yml", "-y"), 3),
    ],
)
def test_no_command_treats_a_placeholder_as_an_image(
    program: Program, pusher: Pusher, left_behind: tuple[dict[str, str], str], arguments: tuple[str, ...], code: int
) -> None:
    before, run = left_behind
    (program.folder / "policy.yml").write_text(POLICY)
    now = pusher.tags("r")
    found = program.run(*arguments)
    assert found.returncode == code, found.stderr
    check_named(found.stderr, run)
    assert pusher.tags("r") == now
    assert program.run("undo", run, "-y").returncode == 0
    assert pusher.tags("r") == before


def test_doctor_and_why_report_the_placeholder(
    program: Program, registry_server: DistributionServer, left_behind: tuple[dict[str, str], str]
) -> None:
    said = "left by an interrupted run: resume or undo it"
    (program.folder / "policy.yml").write_text(POLICY)
    assert f"interrupted run  r  b0: {said}" in program.run("doctor").stdout
    stored = program.run("doctor", "--storage", str(registry_server.storage))
    assert (stored.returncode, f"interrupted run  r  b0: {said}" in stored.stdout) == (3, True), stored.stdout
    why = program.run("why", "r:b0", "-f", "policy.yml")
    assert (why.returncode, said in why.stdout.splitlines()[0]) == (0, True), why.stdout + why.stderr


def test_a_placeholder_displaces_no_image(
    program: Program, pusher: Pusher, left_behind: tuple[dict[str, str], str]
) -> None:
    """Of the images, the newest two are kept."""
    (program.folder / "policy.yml").write_text(POLICY)
    pusher.push_image("r", "new", seed="new")
    now = pusher.tags("r")
    found = program.run("cleanup", "-f", "policy.yml", "-y")
    assert found.returncode == 3, found.stderr
    assert pusher.tags("r") == now


def test_a_placeholder_is_reported_even_without_its_record(
    program: Program, pusher: Pusher, left_behind: tuple[dict[str, str], str]
) -> None:
    before, _ = left_behind
    now = pusher.tags("r")
    found = program.run("remove-tags", "-r", "r", "-t", "b0", state=program.folder / "elsewhere")
    assert "r:b0: left by an interrupted run that is not recorded here" in found.stderr
    assert pusher.tags("r") == now != before


async def test_a_placeholder_recorded_as_an_image_by_an_older_version_is_not_restored(
    program: Program, removing: Removing, pusher: Pusher, left_behind: tuple[dict[str, str], str]
) -> None:
    """2.0.0 removed placeholders like images, and recorded them in that run."""
    from datetime import UTC, datetime

    from dregutil.oci.manifest import parse_manifest
    from dregutil.oci.names import Digest, RegistryAddress, Repository, Tag
    from dregutil.plan.model import Action, Plan, Step, StepKind
    from dregutil.plan.outcome import Intent, Outcome, Result

    before, run = left_behind
    digest = Digest(pusher.tags("r")["b0"])
    manifest = parse_manifest(pusher.raw("r", digest), IMAGE, digest)
    step = Step(1, Action.DELETE, Repository("r"), digest, (Tag("b0"),), StepKind.IMAGE, "")
    plan = Plan(RegistryAddress.parse(removing.url).identity, datetime.now(UTC), "remove-tags", (step,))
    journal = removing.store.begin(plan, datetime.now(UTC))
    await journal.intend(Intent(1, Repository("r"), (Tag("b0"),), manifest))
    journal.outcome(Outcome(step, Result.REMOVED))
    journal.close(datetime.now(UTC))
    assert pusher.request("DELETE", f"/v2/r/manifests/{digest}")[0] == 202
    found = program.run("undo", journal.run, "-y")
    assert found.returncode == 3, found.stderr
    assert "it was no image, but left by an interrupted run: undo that one" in found.stderr
    assert program.run("undo", run, "-y").returncode == 0
    assert pusher.tags("r") == before
