"""`cleanup` with --report, --metrics and --notify: on the real registry, against an endpoint on the loopback."""

from __future__ import annotations

import asyncio
import json
import os
import re
import stat
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from dregutil.cli import run
from dregutil.notify import deliver
from images import Pusher, created
from program import Program
from servers import DistributionServer
from servers.http import LOST, Answer, Endpoint, Proxy, Request

SECRET = "T0-s3cr3t-B1"
POLICY = """version: 1
defaults: {max_remove: 80%}
policies:
  - name: releases
    repositories: ["shop/**"]
    select: {version: ">=1.0"}
    group_by: minor
    keep: {last: 1}
    order: version
  - name: branches
    repositories: ["**"]
    select: {regex: '(?P<branch>.+)-[0-9a-f]{7,40}'}
    group_by: branch
    keep: {last: 2}
"""


class Hook(Endpoint):
    """A webhook. `answers` are given one after another, and then 200."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: list[Answer] = []
        self.delay = 0.0  # seconds
        self.seen: list[Request] = []

    async def respond(self, request: Request) -> Answer:
        self.seen.append(request)
        await asyncio.sleep(self.delay)
        return self.answers.pop(0) if self.answers else Answer(200)

    @property
    def secret_url(self) -> str:
        return f"{self.url}/services/{SECRET}"


@pytest.fixture
def hook() -> Iterator[Hook]:
    with Hook() as found:
        yield found


@pytest.fixture
def program(registry_server: DistributionServer, pusher: Pusher, tmp_path: Path) -> Program:
    (tmp_path / "policy.yml").write_text(POLICY)
    for age, version in enumerate(("2.0.0", "1.1.1", "1.1.0", "1.0.1", "1.0.0")):
        pusher.push_image("shop/web", version, seed=version, config=created(10 + age))
    pusher.push_image("shop/web", "latest", seed="latest", config=created(5))
    for number in range(4):
        pusher.push_image("team/app", f"main-{number:07x}", seed=f"main {number}", config=created(30 - number))
    return Program(registry_server.url, tmp_path)


def report(program: Program) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((program.folder / "out" / "cleanup.json").read_text())
    return found


def value(program: Program, name: str, *labels: str) -> float:
    """A sample of the metrics with these labels."""
    text = (program.folder / "dregutil.prom").read_text()
    for line in text.splitlines():
        found = re.fullmatch(rf"dregutil_cleanup_{name}\{{(.*)\}} ([0-9.]+)", line)
        if found and all(label in found[1] for label in labels):
            return float(found[2])
    raise AssertionError(text)


def traces(program: Program) -> Iterator[tuple[Path, bytes]]:
    """Everything that the program wrote into its folder."""
    return ((path, path.read_bytes()) for path in program.folder.rglob("*") if path.is_file())


def test_a_run_leaves_a_report_metrics_and_a_message(program: Program, hook: Hook, pusher: Pusher) -> None:
    program.folder.joinpath("hook").write_text(f"{hook.secret_url}\nt0ken-of-ours\n")
    wanted = ("--report", "out", "--metrics", "dregutil.prom", "--notify-file", "hook")
    done = program.run("-l", "debug", "cleanup", "-f", "policy.yml", "-y", *wanted)
    assert done.returncode == 0, done.stderr
    found = report(program)
    (record,) = program.runs
    assert (found["result"], found["success"], found["run"]) == ("removed", True, record.stem.partition(".")[0])
    assert found["undo"].startswith(f"dregutil undo {found['run']} -reg ")
    rows = {one["policy"]: (one["selected"], one["removed"], one["kept"]) for one in found["policies"]}
    assert rows == {"releases": (5, 2, 3), "branches": (4, 2, 2)}
    assert {one["team"]: one["removed"] for one in found["teams"]} == {"shop": 2, "team": 2}
    assert [(one["repository"], one["tag"], one["because"]) for one in found["removed"]][:1] == [
        ("shop/web", "1.0.0", "beyond last: 1")
    ]
    freed = sum(one["bytes_freed"] for one in found["policies"])
    assert freed == found["total"]["bytes_freed"] == sum(one["bytes_freed"] for one in found["teams"]) > 0
    assert sum(one["tags"] for one in found["stayed"]) == len(pusher.tags("shop/web")) + len(pusher.tags("team/app"))
    assert value(program, "tags_removed", 'policy="releases"') == 2
    assert value(program, "last_success_timestamp_seconds") == value(program, "last_run_timestamp_seconds") > 0
    (request,) = hook.seen
    assert (request.method, request.headers["content-type"]) == ("POST", "application/json")
    assert request.headers["authorization"] == "Bearer t0ken-of-ours"
    assert json.loads(request.body) == found
    for path, raw in traces(program):
        assert path.name == "hook" or (SECRET.encode() not in raw and b"t0ken-of-ours" not in raw), path
    assert SECRET not in done.stdout + done.stderr
    modes = [stat.S_IMODE((program.folder / name).stat().st_mode) for name in ("out/cleanup.html", "dregutil.prom")]
    assert modes == [0o600, 0o644]


def test_a_plan_with_its_reasons_leaves_only_what_the_command_line_names(program: Program, hook: Hook) -> None:
    (program.folder / "dregutil.toml").write_text(
        f'[registries.here]\naddress = "{program.url}"\nreport = "out"\nnotify = "{hook.secret_url}"\n'
    )
    (program.folder / "dregutil.toml").chmod(0o600)
    line = ("--config", "dregutil.toml", "-reg", "here", "cleanup", "-f", "policy.yml", "--plan-out", "plan.jsonl")
    assert program.run(*line).returncode == 0
    assert (len(hook.seen), (program.folder / "out").exists()) == (1, True)
    (program.folder / "out" / "cleanup.md").write_text("of last night")
    assert program.run(*line, "--reasons-out", "reasons.json").returncode == 0
    assert (program.folder / "out" / "cleanup.md").read_text() == "of last night"
    assert len(hook.seen) == 1
    assert program.run(*line, "--reasons-out", "reasons.json", "--report", "other").returncode == 0
    assert (program.folder / "other" / "cleanup.md").exists()


def test_a_dry_run_writes_a_report_and_no_metrics(program: Program) -> None:
    done = program.run(
        "cleanup", "-f", "policy.yml", "-y", "--dry-run", "--report", "out", "--metrics", "dregutil.prom"
    )
    found = report(program)
    assert (done.returncode, found["result"], found["run"], found["undo"]) == (0, "dry run", None, None)
    assert (found["total"]["removed"], found["total"]["kept"]) == (4, 5)
    assert not (program.folder / "dregutil.prom").exists(), "a dry run is no run"
    assert program.runs == []
    assert "What would go" in (program.folder / "out" / "cleanup.md").read_text()


def test_a_refused_run_is_said_and_the_last_success_stays(program: Program, hook: Hook) -> None:
    wanted = ("-y", "--report", "out", "--metrics", "dregutil.prom", "--notify", hook.secret_url)
    assert program.run("cleanup", "-f", "policy.yml", *wanted).returncode == 0
    before = value(program, "last_success_timestamp_seconds")
    program.folder.joinpath("policy.yml").write_text(POLICY.replace("80%", "1%").replace("last: 2", "last: 1"))
    done = program.run("cleanup", "-f", "policy.yml", *wanted)
    assert done.returncode == 5
    found = json.loads(hook.seen[-1].body)
    assert (found["result"], found["success"], found["total"]["removed"]) == ("refused", False, 0)
    assert found["why"].startswith("more than max_remove would go: branches (1 of 2 tags)")
    assert {"because": "the run was refused", "tags": 1} in found["stayed"]
    assert value(program, "last_success_timestamp_seconds") == before < value(program, "last_run_timestamp_seconds")
    assert value(program, "tags_removed", 'policy="branches"') == 0


def test_a_run_that_fails_early_is_said(program: Program, hook: Hook) -> None:
    program.folder.joinpath("policy.yml").write_text("version: 1\npolicies: 7\n")
    done = program.run("cleanup", "-f", "policy.yml", "-y", "--notify", hook.secret_url, "--metrics", "dregutil.prom")
    assert done.returncode == 2
    found = json.loads(hook.seen[0].body)
    assert (found["result"], found["policies"]) == ("failed", [])
    assert found["why"] in done.stderr
    assert value(program, "last_success_timestamp_seconds") == 0


@pytest.mark.parametrize(
    ("answers", "requests", "why"),
    [
        ([Answer(500), Answer(502)], 2, "it answered 502"),
        ([Answer(404)], 1, "it answered 404"),
        ([LOST, LOST], 2, "the connection broke off"),
        ([Answer(302, b"", {"Location": "/elsewhere"})], 1, "it answered 302"),
    ],
)
def test_a_failed_delivery_is_a_line(
    program: Program, hook: Hook, answers: list[Answer], requests: int, why: str
) -> None:
    hook.answers = answers
    done = program.run("-l", "debug", "cleanup", "-f", "policy.yml", "-y", "--notify", hook.secret_url)
    assert done.returncode == 0
    assert f"dregutil: warning: the notification was not delivered to {hook.host}: {why}\n" in done.stderr
    assert len(hook.seen) == requests
    assert SECRET not in done.stdout + done.stderr
    assert SECRET.encode() not in b"".join(raw for _, raw in traces(program))
    assert SECRET not in program.run("history").stdout + program.run("history", "--format", "json").stdout


def test_a_second_attempt_delivers(program: Program, hook: Hook) -> None:
    hook.answers = [Answer(503)]
    done = program.run("cleanup", "-f", "policy.yml", "-y", "--notify", hook.secret_url)
    assert "notification" not in done.stderr
    assert len(hook.seen) == 2


def test_a_redirect_to_another_host_is_not_followed(program: Program, hook: Hook) -> None:
    with Hook() as other:
        hook.answers = [Answer(307, b"", {"Location": other.secret_url})]
        done = program.run("cleanup", "-f", "policy.yml", "-y", "--notify", hook.secret_url)
        assert done.returncode == 0
        assert "it redirects to another host, which is not followed" in done.stderr
        assert (len(hook.seen), other.seen) == (1, [])
    hook.answers = [Answer(308, b"", {"Location": "/moved"})]
    program.run("cleanup", "-f", "policy.yml", "-y", "--notify", hook.secret_url)
    assert [request.path for request in hook.seen[1:]] == [f"/services/{SECRET}", "/moved"]


def test_an_endpoint_that_hangs_delays_and_does_not_fail_the_run(
    program: Program, hook: Hook, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(program.folder)
    monkeypatch.setattr("dregutil.cli.after_cleanup.deliver", partial(deliver, timeout=0.3, pause=0))
    hook.delay = 30
    wanted = ("cleanup", "-f", "policy.yml", "-y", "--notify", hook.secret_url)
    assert run(program.command(wanted)[1:]) == 0
    shown = capsys.readouterr()
    assert f"was not delivered to {hook.host}: no answer within 0.3 s\n" in shown.err
    assert SECRET not in shown.out + shown.err
    assert len(hook.seen) == 2


def test_what_a_limit_leaves_is_said(program: Program) -> None:
    program.run("cleanup", "-f", "policy.yml", "-y", "--limit", "1", "--report", "out")
    found = report(program)
    assert (found["total"]["removed"], found["total"]["kept"]) == (1, 8)
    assert {"because": "left by --limit for later runs", "tags": 3} in found["stayed"]


def test_what_fails_is_named_with_the_reason(
    program: Program, registry_server: DistributionServer, pusher: Pusher
) -> None:
    there = set(pusher.tags("team/app").values())

    def refuse(request: Request) -> Answer | None:
        return Answer(400) if request.method == "DELETE" and request.reference in there else None

    with Proxy(registry_server.port, before=refuse) as proxy:
        refused = Program(proxy.url, program.folder)
        done = refused.run("cleanup", "-f", "policy.yml", "-y", "--report", "out", "--metrics", "dregutil.prom")
    found = report(program)
    assert (done.returncode, found["result"], found["success"]) == (3, "partly failed", False)
    rows = {one["policy"]: (one["removed"], one["failed"], one["kept"]) for one in found["policies"]}
    assert rows == {"releases": (2, 0, 3), "branches": (0, 2, 2)}
    assert {one["what"] for one in found["failures"]} == {"team/app:main-0000000", "team/app:main-0000001"}
    assert value(program, "tags_failed", 'policy="branches"') == 2
    assert value(program, "last_success_timestamp_seconds") == 0
    assert found["undo"]


def test_manifests_without_a_tag_are_counted_with_their_policy(program: Program, pusher: Pusher) -> None:
    program.folder.joinpath("policy.yml").write_text(
        "version: 1\npolicies:\n  - {name: orphans, repositories: ['**'], select: {untagged: true}, "
        "keep: {none: true}, min_age: 0s, max_remove: 100%}\n"
    )
    program.run("cleanup", "-f", "policy.yml", "-y")
    pusher.push_image("shop/web", "latest", seed="moved", config=created(1))
    program.run("cleanup", "-f", "policy.yml", "-y", "--report", "out")
    (row,) = report(program)["policies"]
    assert (row["untagged"], row["selected"], row["removed"]) == (True, 1, 1)
    assert [one["tag"] for one in report(program)["removed"]] == [None]


def test_teams_by_a_label(program: Program, pusher: Pusher) -> None:
    for number, team in enumerate(("red", "blue", None)):
        labels = {} if team is None else {"Labels": {"owner": team}}
        config = {**created(60 + number), "config": labels}
        pusher.push_image("shop/api", f"3.0.{number}", seed=f"api {number}", config=config)
    program.run("cleanup", "-f", "policy.yml", "--dry-run", "--report", "out", "--team-label", "owner")
    found = {one["team"]: (one["selected"], one["removed"]) for one in report(program)["teams"]}
    assert found["red"] == (1, 1)
    assert found["blue"] == (1, 1)
    assert None in found


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--report", "policy.yml"), "it is not a folder"),
        (("--metrics", "."), "it is a folder"),
        (("--metrics", "missing/a.prom"), "there is no folder"),
        (("--notify", f"mailto:{SECRET}"), "not a URL of a webhook"),
        (("--notify", f"http://example.com/{SECRET}"), "would be readable on its way"),
        (("--notif", f"https://example.com/{SECRET}"), "unrecognized arguments: --notif …"),
        ((f"--notif=https://example.com/{SECRET}",), "unrecognized arguments: --notif=…"),
        (("--notify-file", "missing"), "cannot be read"),
        (("--notify-file", "policy.yml"), "it holds one URL, one token, or both"),
    ],
)
def test_what_cannot_be_written_or_sent_ends_the_command_first(
    program: Program, pusher: Pusher, arguments: tuple[str, ...], why: str
) -> None:
    done = program.run("cleanup", "-f", "policy.yml", "-y", *arguments)
    assert done.returncode == 2
    assert why in done.stderr
    assert SECRET not in done.stderr
    assert len(pusher.tags("shop/web")) == 6


def test_a_report_that_cannot_be_written_leaves_the_exit_code(program: Program, pusher: Pusher) -> None:
    (program.folder / "out" / "cleanup.md").mkdir(parents=True)
    done = program.run("cleanup", "-f", "policy.yml", "-y", "--report", "out")
    assert done.returncode == 0
    assert "dregutil: warning: the report could not be written to " in done.stderr
    assert len(pusher.tags("shop/web")) == 4


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a link of another user")
def test_a_link_of_another_user_is_refused(program: Program) -> None:
    elsewhere = program.folder / "elsewhere"
    elsewhere.mkdir()
    (program.folder / "out").symlink_to(elsewhere)
    os.lchown(program.folder / "out", 12345, 12345)
    done = program.run("cleanup", "-f", "policy.yml", "-y", "--report", "out")
    assert (done.returncode, list(elsewhere.iterdir())) == (2, [])
    assert "another user's link" in done.stderr


def test_the_configuration_file_sets_them(program: Program, hook: Hook) -> None:
    file = program.folder / "config.toml"
    file.write_text(
        f'[registries.prod]\naddress = "{program.url}"\npolicy = "policy.yml"\nreport = "out"\n'
        f'metrics = "dregutil.prom"\nnotify = "{hook.secret_url}"\nnotify_format = "slack"\nteam_label = "owner"\n'
    )
    file.chmod(0o600)
    prod = Program("prod", program.folder).run
    shown = prod("--config", "config.toml", "config", "show", "--format", "json").stdout
    assert SECRET not in shown
    assert {"key": "notify", "value": "set"}.items() <= next(
        one for one in json.loads(shown) if one["key"] == "notify"
    ).items()
    assert prod("--config", "config.toml", "cleanup", "-y").returncode == 0
    assert report(program)["team_label"] == "owner"
    assert json.loads(hook.seen[0].body).keys() == {"text", "blocks"}
    assert prod("--config", "config.toml", "cleanup", "-y", "--notify", "None").returncode == 0
    assert len(hook.seen) == 1
