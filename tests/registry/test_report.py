"""`report` on a real registry: its numbers are those of the other commands, and it says what is wrong."""

from __future__ import annotations

import json
import os
import re
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from images import Pusher, created
from program import Program
from servers import DistributionServer

POLICY = """version: 1
defaults: {max_remove: 80%}
policies:
  - name: releases
    repositories: ["shop/**"]
    select: {version: ">=1.0"}
    keep: {last: 2}
    order: version
"""
BASE = b"base" * 5000


@pytest.fixture
def program(registry_server: DistributionServer, pusher: Pusher, tmp_path: Path) -> Program:
    (tmp_path / "policy.yml").write_text(POLICY)
    for age, version in enumerate(("1.3", "1.2", "1.1", "1.0")):
        layers = [BASE, version.encode() * 900]
        pusher.push_image("shop/web", version, seed=version, layers=layers, config=created(10 + age))
    pusher.push_image("shop/api", "main", seed="main", layers=[BASE], config=created(3))
    pusher.push_image("tools", "1.0", seed="tools", config=created(40))
    return Program(registry_server.url, tmp_path)


def reported(program: Program, *options: str, code: int = 0) -> dict[str, Any]:
    """The document in the page that `report` writes."""
    done = program.run("report", "-o", "report.html", *options)
    assert done.returncode == code, done.stderr
    text = (program.folder / "report.html").read_text()
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    read: dict[str, Any] = json.loads(found[1])
    return read


def below(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("children", ()):
        yield from below(child)


def test_the_sizes_are_those_of_du(program: Program) -> None:
    found = reported(program)
    rows = json.loads(program.run("du", "--format", "json").stdout)
    tags = json.loads(program.run("du", "--by", "tag", "--format", "json").stdout)
    total = rows.pop()["total"]
    assert (found["week"]["stored"], found["space"]["root"]["reaches"]) == (total, total)
    nodes = [*below(found["space"]["root"])]
    shown = {node["name"]: (node["reaches"], node["frees"]) for node in nodes if node["kind"] == "repository"}
    assert shown == {one["repository"]: (one["size"], one["unique"]) for one in rows}
    listed = sorted((node["name"], node["frees"]) for node in nodes if node["kind"] == "tag")
    assert listed == sorted((one["tag"], one["unique"]) for one in tags[:-1])
    layers = [node for node in nodes if node["kind"] == "layer" and node["reaches"] == len(BASE)]
    assert {(node["tags"], node["frees"]) for node in layers} == {(5, 0)}
    assert (found["week"]["repositories"], found["week"]["tags"], found["week"]["exact"]) == (3, 6, True)


def test_the_plan_of_a_policy_has_a_row_for_each_reason(program: Program) -> None:
    document = reported(program, "-f", "policy.yml")
    assert document["notes"] == ["2 tags that no policy selects: they stay."]
    found = document["plan"]
    details = json.loads(program.run("cleanup", "-f", "policy.yml", "--dry-run", "--format", "json").stdout)
    assert (found["kind"], found["source"], found["refused"]) == ("policy", "policy.yml", None)
    assert found["frees"] == details[0]["reclaimable_bytes"] > 0
    (group,) = found["groups"]
    assert (group["policy"], group["repository"], group["removed"], group["kept"]) == ("releases", "shop/web", 2, 2)
    rows = {(row["action"], row["because"]): row for row in group["rows"]}
    assert set(rows) == {("REMOVE", "beyond last: 2"), ("KEEP", "last: 2")}
    removed = rows["REMOVE", "beyond last: 2"]
    assert {image["tags"][0] for image in removed["images"]} == {"1.0", "1.1"}
    assert removed["frees"] == found["frees"] == sum(image["frees"] for image in removed["images"])
    assert found["changes"] is None  # there was no run by this policy


def test_a_plan_file_is_shown_as_it_is(program: Program) -> None:
    made = program.run("cleanup", "-f", "policy.yml", "--plan-out", "plan.jsonl")
    found = reported(program, "--plan", "plan.jsonl")["plan"]
    assert found["sum"] in made.stderr
    assert found["command"] == f"dregutil apply plan.jsonl{program.named}"
    assert [group["policy"] for group in found["groups"]] == ["releases"]
    assert {row["action"] for group in found["groups"] for row in group["rows"]} == {"REMOVE"}


def test_what_the_last_run_removed_is_no_surprise(program: Program, pusher: Pusher) -> None:
    """After a run, the difference has what is new to go; what an undo put back is no longer to go, as it is held."""
    assert program.run("cleanup", "-f", "policy.yml", "-y").returncode == 0
    assert program.run("remove-tags", "-r", "tools", "-t", "1.0", "-y", "--yes-remove", "1").returncode == 0
    found = reported(program, "-f", "policy.yml")["plan"]["changes"]
    assert (found["new"], found["moved"], found["no_longer"], found["rows"]) == (0, 0, 0, [])
    pusher.push_image("shop/web", "1.4", seed="1.4", config=created(1))
    assert program.run("undo", "shop/web:1.0", "-y").returncode == 0
    found = reported(program, "-f", "policy.yml")["plan"]["changes"]
    shown = [(one["change"], one["tag"]) for one in found["rows"]]
    assert shown == [("new to go", "1.2"), ("no longer to go", "1.0")]
    assert found["run"] == program.runs[0].name


def test_the_week_has_the_last_run_and_what_waits(program: Program) -> None:
    assert reported(program)["week"]["last_run"] is None
    assert program.run("cleanup", "-f", "policy.yml", "-y").returncode == 0
    found = reported(program)["week"]
    history = json.loads(program.run("history", "--format", "json").stdout)[0]
    last, pending = found["last_run"], found["pending"]
    assert (last["run"], last["tags"], last["frees"]) == (history["run"], 2, history["reclaimable_bytes"])
    assert (last["result"], last["failed"], last["undone"], last["collected"]) == ("finished", 0, False, None)
    assert last["undo"] == f"dregutil undo {last['run']}{program.named}"
    assert (pending["runs"], pending["tags"], pending["bytes"]) == (1, 2, last["frees"])
    assert pending["undo"] == f"dregutil undo --list{program.named}"
    assert found["growth"]["tags"] == -2
    assert found["growth"]["bytes"] == -last["frees"]
    assert found["alarm"] is None
    assert program.run("undo", "-y").returncode == 0
    found = reported(program)["week"]
    assert (found["pending"]["runs"], found["pending"]["undo"], found["last_run"]["undone"]) == (0, None, True)
    assert found["last_run"]["undo"] is None


def test_a_refused_cleanup_is_the_alarm(program: Program) -> None:
    (program.folder / "used.txt").write_text(f"{program.url.removeprefix('http://')}/shop/web:1.0\n")
    old = time.time() - 9 * 86400
    os.utime(program.folder / "used.txt", (old, old))
    text = POLICY.replace("policies:", "protect: {in_use: [{file: used.txt, max_age: 2d}]}\npolicies:")
    (program.folder / "policy.yml").write_text(text)
    found = reported(program, "-f", "policy.yml", code=3)
    assert "used.txt is 9d old, and max_age is 2d" in found["plan"]["refused"]
    assert "used.txt" in found["week"]["alarm"]["what"]
    assert found["plan"]["groups"] == []


def test_more_than_max_remove_is_refused_and_shown(program: Program) -> None:
    (program.folder / "policy.yml").write_text(POLICY.replace("80%", "10%"))
    found = reported(program, "-f", "policy.yml", code=3)
    assert "more than max_remove would go: releases" in found["plan"]["refused"]
    assert found["plan"]["groups"][0]["removed"] == 2


def test_a_list_is_shown_with_its_age(program: Program) -> None:
    (program.folder / "used.txt").write_text(f"{program.url.removeprefix('http://')}/shop/web:1.0\n")
    text = POLICY.replace("policies:", "protect: {in_use: [{file: used.txt, max_age: 2d}]}\npolicies:")
    (program.folder / "policy.yml").write_text(text)
    (found,) = reported(program, "-f", "policy.yml")["week"]["lists"]
    assert (found["name"], found["max_age_seconds"], found["stale"], found["images"], found["here"]) == (
        "used.txt",
        2 * 86400,
        False,
        1,
        1,
    )


def test_what_is_broken_is_found_with_check(program: Program, pusher: Pusher) -> None:
    child = pusher.push_image("shop/api", seed="child")
    pusher.push_index("shop/api", "2.0", children=[child])
    pusher.request("DELETE", f"/v2/shop/api/manifests/{child['digest']}")
    found = reported(program, code=3)
    assert found["week"]["broken"] is None
    assert found["health"]["findings"][0]["check"] == "not read"
    found = reported(program, "--check", code=3)
    assert found["health"]["checked"] == "registry"
    (finding,) = found["health"]["findings"]
    assert (finding["check"], finding["broken"], finding["command"]) == (
        "missing child",
        True,
        f"dregutil doctor{program.named}",
    )
    assert found["week"]["broken"] == 1
    assert found["week"]["alarm"]["command"] == finding["command"]


def test_the_storage_is_read_where_it_is_named(
    program: Program, pusher: Pusher, registry_server: DistributionServer
) -> None:
    child = pusher.push_image("shop/api", seed="child")
    pusher.push_index("shop/api", "2.0", children=[child])
    pusher.request("DELETE", f"/v2/shop/api/manifests/{child['digest']}")
    storage = str(registry_server.storage)
    found = reported(program, "--check", "--storage", storage, code=3)
    assert found["health"]["checked"] == "storage"
    broken = [one for one in found["health"]["findings"] if one["broken"]]
    assert {one["check"] for one in broken} == {"missing child"}
    assert broken[0]["command"] == f"dregutil doctor --storage {storage}{program.named}"
    assert found["week"]["broken"] == len(broken)


def test_since_a_run(program: Program) -> None:
    assert program.run("remove-tags", "-r", "tools", "-t", "1.0", "-y", "--yes-remove", "1").returncode == 0
    run = program.runs[0].name
    assert program.run("cleanup", "-f", "policy.yml", "--plan-out", "plan.jsonl").returncode == 0
    found = reported(program, "--plan", "plan.jsonl", "--since", run)["plan"]["changes"]
    assert (found["run"], found["new"]) == (run, 2)
    assert program.run("undo", "-y").returncode == 0
    done = program.run("report", "-o", "-", "--since", program.runs[-1].name)
    assert done.returncode == 2
    assert "is an undo" in done.stderr
    assert program.run("report", "-o", "-", "--since", "20990101").returncode == 1


def test_the_file_is_private_and_whole_or_not_there(program: Program) -> None:
    reported(program)
    path = program.folder / "report.html"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    before = path.read_text()
    assert program.run("report", "-o", "report.html", longest_file=4096).returncode == 2
    assert path.read_text() == before
    assert [one.name for one in program.folder.iterdir() if one.name.startswith(".report")] == []
    done = program.run("report", "-o", "nowhere/report.html")
    assert (done.returncode, "there is no folder nowhere" in done.stderr) == (2, True)
    done = program.run("report", "-o", "state")
    assert (done.returncode, "it is a folder" in done.stderr) == (2, True)


def test_markdown_and_json_go_to_standard_output(program: Program) -> None:
    done = program.run("report", "--format", "md")
    assert done.stdout.startswith(f"# {program.url.removeprefix('http://')}\n")
    assert "| shop/web | 4 |" in done.stdout
    (found,) = json.loads(program.run("report", "--format", "json").stdout)
    assert found["kind"] == "report"
    assert program.run("report", "-o", "report.md").returncode == 0
    assert (program.folder / "report.md").read_text().startswith("# ")
    done = program.run("--format", "csv", "report")
    assert (done.returncode, "html, md or json" in done.stderr) == (2, True)


def test_hostile_names_stay_text(program: Program, pusher: Pusher) -> None:
    """Names of policies and files that would be markup, or turn the text around."""
    name = "</script><script>alert(1)</script>\u202e" + "x" * 10_000
    (program.folder / "policy.yml").write_text(POLICY.replace("name: releases", f"name: {json.dumps(name)}"))
    done = program.run("report", "-o", "report.html", "-f", "policy.yml")
    assert done.returncode == 0, done.stderr
    text = (program.folder / "report.html").read_text()
    assert "alert(1)</script>" not in text
    assert "\u202e" not in text
    assert "x" * 400 not in text
    markdown = program.run("report", "-f", "policy.yml", "--format", "md").stdout
    assert "<script" not in markdown
    assert "\u202e" not in markdown
