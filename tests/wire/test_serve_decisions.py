"""Plans over HTTP without a registry: what people send, who may, and what exactly the processes are given."""

from __future__ import annotations

import asyncio
import json
import os
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from dregutil.journal.store import RunStore
from dregutil.oci.manifest import OCI_MANIFEST, parse_manifest
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.plan.model import Action, Plan, PolicySource, Step, StepKind
from dregutil.plan.outcome import Intent
from dregutil.serve.people import Role, Roles
from dregutil.store.plans import Plans
from serve_inside import BEHIND_PROXY, Inside, inside, team_store
from serving import Answered

API = "/api/v1"
SCRIPT = """
import json, os, sys
from datetime import UTC, datetime
from pathlib import Path
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.pages.limits import Limits
from dregutil.pages.page import encoded
from dregutil.pages.plan import PlanFound, plan_part
from dregutil.plan.file import write_plan
from dregutil.plan.model import Action, Plan, Step, StepKind
words = sys.argv[1:]
given = dict(word.split("=", 1) for word in words if "=" in word)
if "--plan-out" in given:
    number = int(os.environ.get("STEPS", "2"))
    web = Repository("shop/web")
    steps = tuple(
        Step(n, Action.DELETE, web, Digest.of(b"%d" % n), (Tag(f"1.{n}"),), StepKind.IMAGE, "selected")
        for n in range(1, number + 1)
    )
    plan = Plan("registry.example.com", datetime.now(UTC), "remove-tags", steps, tags_before={web: number})
    write_plan(Path(given["--plan-out"]), plan)
    Path(given["--reasons-out"]).write_text(encoded(plan_part(PlanFound("x", is_file=True, plan=plan), Limits())))
said = {"words": words, **{name: os.environ.get(name) for name in ("DREGUTIL_ACTOR", "DREGUTIL_PLANNED_BY",
        "DREGUTIL_APPROVED_BY")}}
with open(os.environ["SAID"], "a") as file:
    file.write(json.dumps(said) + "\\n")
if words[0] == "apply" and "FAILS" in os.environ:
    print("dregutil: the registry does not answer\\n  try again", file=sys.stderr)
    sys.exit(1)
if words[0] == "apply" and "WAITS" in os.environ:
    Path(os.environ["WAITS"]).open().read()  # a pipe
"""
PEOPLE: dict[str, Any] = BEHIND_PROXY | {
    "roles": Roles({Role.VIEWER: ["vera"], Role.PLANNER: ["paul", "pia"], Role.APPROVER: ["anna", "bob", "cy@x.org"]})
}


BOTH = pytest.mark.parametrize("store", [False, True], ids=["folder", "store"])
"""Plans in the server's folder, and in a team's store."""


def served(
    folder: Path, environment: dict[str, str] | None = None, **options: Any
) -> AbstractAsyncContextManager[Inside]:
    import os

    return inside(folder, SCRIPT, {**os.environ, "SAID": str(folder / "said"), **(environment or {})}, **options)


def said(folder: Path) -> list[dict[str, Any]]:
    """What each process was given."""
    path = folder / "said"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def read(path: Path) -> tuple[str, int]:
    """The text of a file, and its mode."""
    return path.read_text(), path.stat().st_mode


async def until_approved(server: Inside, sum_: str) -> None:
    for _ in range(1000):
        if await state(server, sum_) == "approved":
            return
    raise AssertionError(await state(server, sum_))


async def ended(server: Inside, answered: Answered, **who: str) -> dict[str, Any]:
    assert answered.status == 202, answered
    while True:
        found: dict[str, Any] = (await server.get(f"{API}/jobs/{answered.json['id']}", **who)).json
        if found["state"] in ("done", "failed"):
            return found
        await asyncio.sleep(0)


async def made(server: Inside, **who: str) -> str:
    job = await ended(
        server, await server.post(f"{API}/plans", {"images": ["shop/web:1.1", "shop/web:1.2"]}, **who), **who
    )
    assert job["state"] == "done", job
    found: str = job["result"]["plan"]
    return found


async def state(server: Inside, sum_: str, **who: str) -> str:
    found: str = (await server.get(f"{API}/plans/{sum_}", **who)).json["summary"]["state"]
    return found


@pytest.mark.parametrize(
    "image",
    [
        "--yes",
        "-y",
        "--yes-remove=99",
        "shop/web",
        "shop/web:",
        "shop/web:-y",
        "shop/web:1.0 --yes",
        "shop/web:1.0\nshop/api:1.0",
        "shop/web:1.0#",
        "../shop/web:1.0",
        "http://evil.example.com/web:1.0",
        "shop/web:1.0@sha256:" + "0" * 64,
        "shop/web:" + "x" * 129,
        "shop/web:1.0\u202e",
        "",
    ],
)
async def test_what_is_not_an_image_reaches_no_process(image: str, tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        for path, body in (
            ("plans", {"images": ["shop/web:1.0", image]}),
            ("holds", {"image": image}),
            ("holds/end", {"image": image}),
        ):
            answered = await server.post(f"{API}/{path}", body)
            assert answered.status == 400, (path, answered)
        assert (await server.get(f"{API}/jobs")).json["jobs"] == []
    assert said(tmp_path) == []


async def test_a_plan_is_of_at_least_one_image_and_at_most_ten_thousand(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        images = [f"shop/team-{number % 7}/web:1.{number}" for number in range(10_001)]
        for body, status in (
            ({"images": images}, 413),
            ({"images": []}, 400),
            ({}, 400),
            ({"policy": True, "images": ["shop/web:1.0"]}, 400),
            ({"policy": True}, 409),
            ({"images": ["shop/web:1.0"], "yes": True}, 400),
            ({"images": [1]}, 400),
            ({"images": ["shop/web@sha256:" + "0" * 64]}, 400),
        ):
            assert (await server.post(f"{API}/plans", body)).status == status, body
        assert (await ended(server, await server.post(f"{API}/plans", {"images": images[:10_000]})))["state"] == "done"
        (given,) = said(tmp_path)
        assert not any("shop/" in word for word in given["words"]), "names are in a file, not on a command line"
        (listed,) = (one.partition("=")[2] for one in given["words"] if one.startswith("--images="))
    text, mode = read(Path(listed))
    assert (text.split(), mode & 0o077) == (images[:10_000], 0)


@pytest.mark.parametrize("sum_", ["..%2f..%2fetc", "%2e%2e", "sha256:..", "x" * 5000, "a" * 64 + "%00", "*", "%0a"])
async def test_what_is_no_sum_is_no_plan(sum_: str, tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        answers = [await server.get(f"{API}/plans/{sum_}")]
        answers += [
            await server.post(f"{API}/plans/{sum_}/{verb}") for verb in ("approve", "withdraw", "discard", "apply")
        ]
        assert {answered.status for answered in answers} <= {400, 404, 405, 414}, answers
    assert said(tmp_path) == []


@BOTH
async def test_the_process_that_carries_out_gets_the_approved_sum_and_who_approved(store: bool, tmp_path: Path) -> None:
    async with served(tmp_path, **PEOPLE, approvals=2, store=store) as server:
        sum_ = await made(server, X_User="paul")
        for name in ("anna", "cy@x.org"):
            assert (await server.post(f"{API}/plans/{sum_}/approve", X_User=name)).status == 200
        job = await ended(server, await server.post(f"{API}/plans/{sum_}/apply", X_User="bob"), X_User="vera")
        assert job["state"] == "done", job
    given = said(tmp_path)[-1]
    (file,) = (tmp_path / "serve").glob(f"*/*plans/{sum_.partition(':')[2]}.jsonl")
    assert given["words"] == ["apply", str(file), f"--expect={sum_}", "-y", "--yes-remove=0"]
    assert given["DREGUTIL_ACTOR"].startswith("bob@")
    assert (given["DREGUTIL_PLANNED_BY"], given["DREGUTIL_APPROVED_BY"]) == ("paul", "anna\ncy@x.org")


@BOTH
async def test_the_number_of_a_plan_that_removes_most_is_what_was_typed(store: bool, tmp_path: Path) -> None:
    async with served(tmp_path, {"STEPS": "60"}, store=store) as server:
        sum_ = await made(server)
        assert (await server.post(f"{API}/plans/{sum_}/approve")).status == 200
        for typed in (None, 0, 59, 61, -60):
            assert (await server.post(f"{API}/plans/{sum_}/apply", {"confirm_tags": typed})).status == 409
        assert (await server.post(f"{API}/plans/{sum_}/apply", {"confirm_tags": "60"})).status == 400
        assert not any(one["words"][0] == "apply" for one in said(tmp_path))
        await ended(server, await server.post(f"{API}/plans/{sum_}/apply", {"confirm_tags": 60}))
    assert said(tmp_path)[-1]["words"][-1] == "--yes-remove=60"


@BOTH
async def test_a_run_that_did_not_begin_leaves_the_plan_approved(store: bool, tmp_path: Path) -> None:
    async with served(tmp_path, {"FAILS": "1"}, store=store) as server:
        sum_ = await made(server)
        assert (await server.post(f"{API}/plans/{sum_}/approve")).status == 200
        for _ in range(2):
            job = await ended(server, await server.post(f"{API}/plans/{sum_}/apply"))
            assert (job["state"], job["message"], job["advice"]) == (
                "failed",
                "the registry does not answer",
                "try again",
            )
            await until_approved(server, sum_)


@BOTH
async def test_a_plan_is_carried_out_once_at_a_time_and_not_beside_another(store: bool, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    async with served(tmp_path, {"WAITS": str(tmp_path / "pipe")}, store=store) as server:
        one, other = await made(server), await made(server)
        for sum_ in (one, other):
            assert (await server.post(f"{API}/plans/{sum_}/approve")).status == 200
        answers = await asyncio.gather(*(server.post(f"{API}/plans/{one}/apply") for _ in range(5)))
        assert sorted(answered.status for answered in answers) == [202, 409, 409, 409, 409]
        assert await state(server, one) == "running"
        second = await server.post(f"{API}/plans/{other}/apply")
        assert (second.status, second.json["error"]) == (409, "another run is at work")
        for verb in ("discard", "withdraw", "approve"):
            assert (await server.post(f"{API}/plans/{one}/{verb}")).status == 409
        (running,) = (answered for answered in answers if answered.status == 202)
        await asyncio.to_thread((tmp_path / "pipe").write_text, "")
        assert (await ended(server, running))["state"] == "done"
    assert sum(one["words"][0] == "apply" for one in said(tmp_path)) == 1


@BOTH
async def test_a_file_that_changed_is_neither_approved_nor_carried_out(store: bool, tmp_path: Path) -> None:
    async with served(tmp_path, store=store) as server:
        one, other = await made(server), await made(server)
        assert (await server.post(f"{API}/plans/{other}/approve")).status == 200
        for sum_ in (one, other):
            alter(tmp_path, sum_)
        for path in (f"plans/{one}/approve", f"plans/{other}/apply"):
            answered = await server.post(f"{API}/{path}")
            assert (answered.status, "was altered" in answered.json["error"]) == (409, True), answered
        assert await state(server, one) == "waiting"
    assert not any(given["words"][0] == "apply" for given in said(tmp_path))


def alter(state: Path, sum_: str) -> None:
    """Change the file of a plan so that it removes something else."""
    (path,) = state.glob(f"serve/*/*plans/{sum_.partition(':')[2]}.jsonl")
    path.write_bytes(path.read_bytes().replace(b'"1.1"', b'"9.9"'))


async def test_an_approval_that_cannot_be_written_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    async with served(tmp_path) as server:
        sum_ = await made(server)
        with monkeypatch.context() as patched:
            patched.setattr("dregutil.serve.plan_store.write_atomically", full)
            answered = await server.post(f"{API}/plans/{sum_}/approve")
            assert (answered.status, "No space left" in answered.json["error"]) == (503, True)
        assert await state(server, sum_) == "waiting"
        assert (await server.post(f"{API}/plans/{sum_}/approve")).status == 200
    async with served(tmp_path) as again:
        assert await state(again, sum_) == "approved", "it is there after a restart"


async def test_who_made_a_plan_or_an_approver_discards_it(tmp_path: Path) -> None:
    async with served(tmp_path, **PEOPLE) as server:
        first, second = await made(server, X_User="paul"), await made(server, X_User="paul")
        for name, sum_, status in (
            ("vera", first, 403),
            ("pia", first, 403),
            ("paul", first, 204),
            ("paul", first, 404),
            ("bob", second, 204),
        ):
            assert (await server.post(f"{API}/plans/{sum_}/discard", X_User=name)).status == status, (name, status)
        assert (await server.get(f"{API}/plans", X_User="vera")).json["plans"] == []
    assert not list((tmp_path / "serve").glob("*/plans/*.json*"))


@BOTH
async def test_who_only_looks_or_plans_decides_nothing(store: bool, tmp_path: Path) -> None:
    async with served(tmp_path, **PEOPLE, store=store) as server:
        assert (await server.post(f"{API}/plans", {"images": ["shop/web:1.1"]}, X_User="vera")).status == 403
        sum_ = await made(server, X_User="paul")
        assert (await server.post(f"{API}/plans/{sum_}/approve", X_User="bob")).status == 200
        for name in ("vera", "paul"):
            for verb in ("approve", "withdraw", "apply"):
                assert (await server.post(f"{API}/plans/{sum_}/{verb}", X_User=name)).status == 403
            found = (await server.get(f"{API}/plans/{sum_}", X_User=name)).json
            assert (found["may_approve"], found["may_apply"]) == (False, False)
            assert (" plans show " if store else " plan show ") in found["command"], (
                "nothing that leads around the approvals"
            )
            for path in ("runs/20260301T020000Z-00001/undo", "runs/20260301T020000Z-00001/resume"):
                assert (await server.post(f"{API}/{path}", X_User=name)).status == 403
        assert (await server.post(f"{API}/holds", {"image": "shop/web:1.1"}, X_User="vera")).status == 403
        assert " apply " in (await server.get(f"{API}/plans/{sum_}", X_User="anna")).json["command"]
    assert [one["words"][0] for one in said(tmp_path)] == ["remove-tags"]


@BOTH
async def test_an_approval_can_be_withdrawn_and_is_there_after_a_restart(store: bool, tmp_path: Path) -> None:
    async with served(tmp_path, **PEOPLE, approvals=2, store=store) as server:
        sum_ = await made(server, X_User="paul")
        own = await made(server, X_User="anna")
        assert (await server.post(f"{API}/plans/{own}/approve", X_User="anna")).status == 403, "she made it"
        for name in ("anna", "bob"):
            assert (await server.post(f"{API}/plans/{sum_}/approve", X_User=name)).status == 200
        assert (await server.post(f"{API}/plans/{sum_}/withdraw", X_User="cy@x.org")).status == 409
        found = (await server.post(f"{API}/plans/{sum_}/withdraw", X_User="bob")).json["summary"]
        assert (found["state"], [one["by"] for one in found["approvals"]], found["needed"]) == ("waiting", ["anna"], 2)
        assert (await server.post(f"{API}/plans/{sum_}/apply", X_User="anna")).status == 409
        assert (await server.post(f"{API}/plans/{sum_}/approve", X_User="Anna ")).status in (403, 409), "one person"
        assert (await server.post(f"{API}/plans/{sum_}/approve", X_User="bob")).status == 200
    async with served(tmp_path, **PEOPLE, approvals=2, store=store) as again:
        found = (await again.get(f"{API}/plans/{sum_}", X_User="vera")).json["summary"]
        assert (found["state"], [one["by"] for one in found["approvals"]]) == ("approved", ["anna", "bob"])
        assert (found["tags"], found["title"], found["by"]) == (2, "2 images", "paul")
    assert not any(one["words"][0] == "apply" for one in said(tmp_path))


async def planned(server: Inside) -> str:
    """The plan of the policy that follows from a report."""
    await server.site.renewal.follow()
    job = await server.site.jobs.ended(next(job for job in server.site.jobs.all if job.kind == "plan"))
    assert job.result is not None, job
    return job.result["plan"]


@BOTH
async def test_a_newer_plan_of_the_policy_takes_the_place_of_what_nobody_approved(store: bool, tmp_path: Path) -> None:
    """And one that removes the same is the one that is there."""

    async with served(tmp_path, {"STEPS": "2"}, store=store, policy="policy.yml") as server:
        first = await planned(server)
        assert await planned(server) == first
        assert (await server.get(f"{API}/plans/{first}")).json["summary"]["tonight"]
    async with served(tmp_path, {"STEPS": "3"}, store=store, policy="policy.yml") as server:
        second = await planned(server)
        assert [await state(server, sum_) for sum_ in (first, second)] == ["superseded", "waiting"]
        assert (await server.post(f"{API}/plans/{first}/approve")).status == 409
        assert (await server.post(f"{API}/plans/{second}/approve")).status == 200
    async with served(tmp_path, {"STEPS": "4"}, store=store, policy="policy.yml") as server:
        third = await planned(server)
        assert [await state(server, sum_) for sum_ in (second, third)] == ["approved", "waiting"]


async def test_a_plan_that_others_put_into_the_store_is_theirs(tmp_path: Path) -> None:
    """No plan of a server takes its place, and it is not approved where more people must approve than it asks for."""
    database = team_store(tmp_path)
    web = Repository("shop/web")
    step = Step(1, Action.DELETE, web, Digest.of(b"x"), (Tag("9"),), StepKind.IMAGE, "selected")
    policy = PolicySource("/etc/dregutil/policy.yml")
    plan = Plan("registry.example.com", datetime.now(UTC), "cleanup", (step,), tags_before={web: 3}, policy=policy)
    sum_ = Plans(database).add(plan, made_by="nightly").sum
    async with served(tmp_path, store=True, policy="policy.yml") as server:
        await planned(server)
        found = (await server.get(f"{API}/plans/{sum_}")).json
        assert (found["summary"]["state"], found["summary"]["by"], found["summary"]["title"]) == (
            "waiting",
            "nightly",
            "policy policy.yml",
        )
        assert [row["tags"] for group in found["plan"]["groups"] for row in group["rows"]] == [1]
    async with served(tmp_path, **PEOPLE, approvals=2, store=True) as server:
        answered = await server.post(f"{API}/plans/{sum_}/approve", X_User="bob")
        assert (answered.status, "asks for 1 approval" in answered.json["error"]) == (403, True), answered
        Plans(database).approve(sum_, "cy")
        assert server.site.team is not None
        await asyncio.to_thread(server.site.team.look)
        answered = await server.post(f"{API}/plans/{sum_}/apply", X_User="bob")
        assert (answered.status, answered.json["error"]) == (409, "1 approval is missing")
        assert (await server.post(f"{API}/plans/{sum_}/discard", X_User="vera")).status == 403
        assert (await server.post(f"{API}/plans/{sum_}/discard", X_User="bob")).status == 204
        assert (await state(server, sum_, X_User="vera"), Plans(database).find(sum_).state) == ("rejected", "rejected")
    assert not any(one["words"][0] == "apply" for one in said(tmp_path))
    database.close()


@pytest.mark.parametrize("run", ["20260301T020000Z-00001", "--yes", "..%2f..", "2026"])
async def test_a_run_that_is_not_recorded_is_none(run: str, tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        assert (await server.get(f"{API}/runs/{run}")).status == 404
        for verb in ("undo", "resume"):
            assert (await server.post(f"{API}/runs/{run}/{verb}")).status == 404
    assert said(tmp_path) == []


async def test_a_run_that_nobody_approved_is_not_continued_where_several_must(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = {}
    for approved, planner in (
        ("", ""),
        ("anna", "paul"),
        ("anna\npaul", "paul"),
        ("anna\nvera", ""),
        ("anna\nbob", "paul"),
    ):
        monkeypatch.setenv("DREGUTIL_APPROVED_BY", approved)
        monkeypatch.setenv("DREGUTIL_PLANNED_BY", planner)
        runs[await asyncio.to_thread(interrupted, tmp_path)] = approved == "anna\nbob"
    async with served(tmp_path, **PEOPLE, approvals=2) as server:
        for run, is_continued in runs.items():
            answered = await server.post(f"{API}/runs/{run}/resume", X_User="bob")
            assert answered.status == (202 if is_continued else 409), (run, answered)
            if is_continued:
                await ended(server, answered, X_User="bob")
            else:
                assert "must approve" in answered.json["error"]
    assert [one["words"] for one in said(tmp_path)] == [["apply", "--resume", run, "-y"] for run in runs if runs[run]]
    async with served(tmp_path) as server:
        assert (await server.post(f"{API}/runs/{next(iter(runs))}/resume")).status == 202, "one approver is enough"


def interrupted(state: Path) -> str:
    """The name of a run that was cut off."""
    web, now = Repository("shop/web"), datetime.now(UTC)
    step = Step(1, Action.DELETE, web, Digest.of(b"1"), (Tag("1.0"),), StepKind.IMAGE, "selected")
    journal = RunStore(state).begin(Plan("registry.example.com", now, "remove-tags", (step,)), now)
    raw = json.dumps({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "layers": []}).encode()
    manifest = parse_manifest(raw, OCI_MANIFEST, Digest.of(raw))
    asyncio.run(journal.intend(Intent(1, web, (Tag("1.0"),), manifest)))
    journal.close(None)
    return journal.run
