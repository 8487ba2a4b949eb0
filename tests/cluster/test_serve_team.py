"""`serve` on a team's store, with a real registry: everybody sees and decides on the same plans and runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dregutil.store.grants import grants_sql
from images import Pusher, created
from listening import until
from program import Program
from servers import DistributionServer
from servers.link import Link
from servers.postgres import Postgres
from serving import Serving
from team_work import SlowRegistry, Team

REPOSITORIES = ("team/web", "team/api")
PEOPLE = ("--user-header", "X-User", "--trusted-proxy", "127.0.0.1", "--viewer", "*", "--approver", "bob")
BOB = {"X_User": "bob"}


class Watched(SlowRegistry):
    seconds = 0.0


@dataclass(frozen=True)
class Pages(Program):
    """`serve` on a machine of a team."""

    team: Team | None = None

    def command(self, arguments: tuple[str, ...], state: Path | None = None) -> list[str]:
        assert self.team is not None
        return self.team.argv(self.folder.name, "-reg", "prod", *arguments)

    def environment(self) -> dict[str, str]:
        assert self.team is not None
        return self.team.environment(DREGUTIL_LEASE="30")


@pytest.fixture
def registry(registry_server: DistributionServer) -> Iterator[Watched]:
    with Watched(registry_server.port) as found:
        yield found


@pytest.fixture
def link(postgres: Postgres) -> Iterator[Link]:
    with Link(postgres.port) as found:
        yield found


@pytest.fixture
def team(tmp_path: Path, shared_url: str, registry: Watched) -> Iterator[Team]:
    with Team(tmp_path, shared_url, registry.url, lease=30.0) as found:
        found.run("ann", "store", "migrate")
        yield found


@pytest.fixture
def pages(team: Team) -> Callable[..., Serving]:
    def made(machine: str, *options: str) -> Serving:
        team.configured(machine)
        program = Pages(team.registry, team.folder / machine, team)
        return Serving(program, ("--refresh-every", "0", *options))

    return made


def pushed(pusher: Pusher, registry: Watched) -> dict[str, dict[str, str]]:
    """Repositories with two tags to remove each, and one to keep."""
    for name in REPOSITORIES:
        for tag in ("1.0", "1.1", "2.0"):
            registry.images.add(pusher.push_image(name, tag, seed=f"{name} {tag}")["digest"])
    return tags(pusher)


def tags(pusher: Pusher) -> dict[str, dict[str, str]]:
    return {name: dict(pusher.tags(name)) for name in REPOSITORIES}


def planned(team: Team, *more: str) -> str:
    return team.plan("ann", "remove-tags", "-r", *REPOSITORIES, "-t", "<2", *more)


def shown(serving: Serving, sum_: str, **who: str) -> dict[str, Any]:
    """A plan in the list of the pages; empty while it is not there."""
    listed = serving.get("plans", **who).json["plans"]
    return next((one for one in listed if one["sum"] == sum_), {})


def test_a_plan_of_another_machine_is_approved_on_the_page_carried_out_by_a_worker_and_put_back(
    team: Team, registry: Watched, pusher: Pusher, pages: Callable[..., Serving]
) -> None:
    before = pushed(pusher, registry)
    with pages("pages", *PEOPLE) as serving:
        sum_ = planned(team)
        until(lambda: shown(serving, sum_, **BOB))
        one = serving.get(f"plans/{sum_}", **BOB).json
        assert (one["summary"]["state"], one["summary"]["by"], one["summary"]["tags"]) == ("waiting", "ann", 4)
        assert (one["may_approve"], one["may_apply"], one["summary"]["needed"]) == (True, False, 1)
        assert {group["repository"] for group in one["plan"]["groups"]} == set(REPOSITORIES)
        assert serving.get(f"plans/{sum_}/steps", **BOB).json["total"] == 4
        assert serving.post(f"plans/{sum_}/apply", **BOB).status == 409
        assert not registry.deleted
        approved = serving.post(f"plans/{sum_}/approve", **BOB)
        assert (approved.status, approved.json["summary"]["state"]) == (200, "approved"), approved
        assert (team.plan_of(sum_)["state"], team.plan_of(sum_)["approved_by"]) == ("approved", ["bob"])

        team.worker("w1")
        until(lambda: shown(serving, sum_, **BOB)["state"] == "done")
        assert tags(pusher) == {name: {"2.0": found["2.0"]} for name, found in before.items()}
        assert len(registry.deleted) == len(set(registry.deleted)) == 4
        run = shown(serving, sum_, **BOB)["run"]
        until(lambda: serving.get("runs", **BOB).json["total"] == 1)
        assert serving.get(f"runs/{run}", **BOB).json["run"]["approved_by"] == ["bob"]

        undone = serving.job(serving.post(f"runs/{run}/undo", **BOB), **BOB)
        assert undone["state"] == "done", undone
        assert tags(pusher) == before
        assert all(pusher.is_whole(name, tag) for name, found in before.items() for tag in found)


def test_a_page_shows_what_the_policy_of_a_plan_from_a_terminal_keeps(
    team: Team, registry: Watched, pusher: Pusher, pages: Callable[..., Serving]
) -> None:
    for name in REPOSITORIES:
        for days, tag in ((30, "1.0"), (20, "1.1"), (10, "2.0")):
            pusher.push_image(name, tag, seed=f"{name} {tag}", config=created(days))
    keeps = ", ".join(REPOSITORIES)
    policy = f"version: 1\npolicies:\n  - {{name: mine, repositories: [{keeps}], keep: {{last: 1}}}}\n"
    (team.folder / "policy.yml").write_text(policy)
    with pages("pages", *PEOPLE) as serving:
        sum_ = team.plan("ann", "cleanup", "-f", str(team.folder / "policy.yml"))
        until(lambda: shown(serving, sum_, **BOB))
        groups = serving.get(f"plans/{sum_}", **BOB).json["plan"]["groups"]
        rows = [(one["policy"], one["removed"], one["kept"], len(one["rows"]), one["rows"][-1]) for one in groups]
        found = [(*row[:4], row[4]["action"], row[4]["because"], row[4]["images"][0]["tags"]) for row in rows]
        assert found == [("mine", 2, 1, 2, "KEEP", "last: 1", ["2.0"])] * len(REPOSITORIES)
        assert [one["rows"][0]["action"] for one in groups] == ["REMOVE"] * len(REPOSITORIES)


def test_what_the_page_makes_is_decided_anywhere(
    team: Team, registry: Watched, pusher: Pusher, pages: Callable[..., Serving]
) -> None:
    before = pushed(pusher, registry)
    with pages("pages") as serving:
        serving.report()
        images = {"images": ["team/web:1.0", "team/api:1.1"]}
        job = serving.job(serving.post("plans", images))
        assert job["state"] == "done", job
        sum_ = job["result"]["plan"]
        assert (team.plan_of(sum_)["state"], team.plan_of(sum_)["tags"]) == ("waiting", 2)
        team.run("bob", "plans", "reject", sum_[7:19], "--because", "wrong week", DREGUTIL_ACTOR="bob@laptop")
        until(lambda: shown(serving, sum_)["state"] == "rejected")
        assert shown(serving, sum_)["why"] == "bob rejected it: wrong week"
        for what in ("approve", "apply", "discard"):
            assert serving.post(f"plans/{sum_}/{what}").status == 409
        assert not registry.deleted

        other = serving.job(serving.post("plans", {"images": ["team/web:1.0"]}))["result"]["plan"]
        team.run("bob", "plans", "approve", other[7:19], DREGUTIL_ACTOR="bob@laptop")
        until(lambda: serving.get(f"plans/{other}").json["may_apply"])
        carried = serving.job(serving.post(f"plans/{other}/apply"))
        assert carried["state"] == "done", carried
        assert team.plan_of(other)["state"] == "done", "no worker has to come by"
        assert shown(serving, other)["state"] == "done"
        assert serving.post(f"plans/{other}/apply").status == 409
        assert serving.get(f"runs/{carried['result']['run']}").json["run"]["approved_by"] == ["bob"]
    after = tags(pusher)
    assert after == {**before, "team/web": {tag: one for tag, one in before["team/web"].items() if tag != "1.0"}}


def test_a_page_and_a_terminal_approve_at_once_and_it_is_carried_out_once(
    team: Team, registry: Watched, pusher: Pusher, pages: Callable[..., Serving]
) -> None:
    before = pushed(pusher, registry)
    workers = [team.worker(f"w{number}") for number in (1, 2)]
    with pages("pages", *PEOPLE) as serving, ThreadPoolExecutor(2) as threads:
        sum_ = planned(team)
        until(lambda: shown(serving, sum_, **BOB))
        argv = team.argv("cy", "plans", "approve", sum_[7:19])
        typed = threads.submit(_typed, argv, team.environment(DREGUTIL_ACTOR="cy@laptop"))
        clicked = threads.submit(serving.post, f"plans/{sum_}/approve", **BOB)
        assert clicked.result().status in (200, 409)
        assert (typed.result() == 0) or clicked.result().status == 200
        tried = serving.post(f"plans/{sum_}/apply", **BOB)  # the button, beside two workers
        if tried.status == 202:
            serving.job(tried, **BOB)
        until(lambda: team.plan_of(sum_)["state"] == "done")
        until(lambda: shown(serving, sum_, **BOB)["state"] == "done")
        assert serving.get("runs", **BOB).json["total"] == 1
    assert tags(pusher) == {name: {"2.0": found["2.0"]} for name, found in before.items()}
    assert len(registry.deleted) == len(set(registry.deleted)) == 4
    assert len(workers) == 2


def _typed(argv: list[str], environment: dict[str, str]) -> int:
    import subprocess

    return subprocess.run(argv, env=environment, capture_output=True, check=False).returncode


def test_a_store_that_is_away_is_said_and_nothing_waits_for_it(
    team: Team,
    link: Link,
    registry: Watched,
    pusher: Pusher,
    pages: Callable[..., Serving],
    postgres: Postgres,
) -> None:
    pushed(pusher, registry)
    direct = team.store
    team.store = postgres.url_of(direct.rpartition("/")[2].partition("?")[0], port=link.port)
    with pages("pages", *PEOPLE) as serving:
        team.store = direct
        sum_ = planned(team)
        until(lambda: shown(serving, sum_, **BOB))
        session = serving.get("session", **BOB).json
        assert (session["store_problem"], "@" in session["store"]) == (None, True)
        link.swallow()
        until(lambda: serving.get("session", **BOB).json["store_problem"])
        with ThreadPoolExecutor(20) as threads:
            answers = list(threads.map(lambda _: serving.get("plans", **BOB), range(40)))
        assert all(shown_there(one.json, sum_) == "waiting" for one in answers), "what was known is shown"
        refused = serving.post(f"plans/{sum_}/approve", **BOB)
        assert refused.status == 503, refused
        assert "what is shown is of" in refused.json["error"]
        assert team.plan_of(sum_)["state"] == "waiting"
        link.heal()
        until(lambda: serving.get("session", **BOB).json["store_problem"] is None)
        assert serving.post(f"plans/{sum_}/approve", **BOB).json["summary"]["state"] == "approved"


def shown_there(listed: dict[str, Any], sum_: str) -> str:
    return str(next(one["state"] for one in listed["plans"] if one["sum"] == sum_))


def test_the_roles_of_an_approver_and_a_worker_are_enough(
    team: Team, registry: Watched, pusher: Pusher, pages: Callable[..., Serving], postgres: Postgres
) -> None:
    before = pushed(pusher, registry)
    name = team.store.rpartition("/")[2]
    user = f"pages_of_{name}"
    with postgres.connect(name) as connection:
        connection.execute("\n".join(grants_sql()))
        roles = "dregutil_approver, dregutil_worker"
        connection.execute(f"CREATE ROLE {user} LOGIN PASSWORD '{postgres.password}' IN ROLE {roles}")
    team.store = postgres.url_of(name, user=user)
    with pages("pages", *PEOPLE) as serving:
        made = serving.job(serving.post("plans", {"images": ["team/web:1.0"]}, **BOB), **BOB)
        sum_ = made["result"]["plan"]
        for what, state in (("approve", "approved"), ("withdraw", "waiting"), ("approve", "approved")):
            answered = serving.post(f"plans/{sum_}/{what}", **BOB)
            assert answered.json["summary"]["state"] == state, answered
        carried = serving.job(serving.post(f"plans/{sum_}/apply", **BOB), **BOB)
        assert carried["state"] == "done", carried
        assert "1.0" not in pusher.tags("team/web")
        undone = serving.job(serving.post(f"runs/{carried['result']['run']}/undo", **BOB), **BOB)
        assert undone["state"] == "done", undone
    assert tags(pusher) == before
    with postgres.connect(name) as connection:
        connection.execute(f"DROP OWNED BY {user}")
        connection.execute(f"DROP ROLE {user}")
