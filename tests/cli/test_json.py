"""`docs/json.md`: each example has the names and types of the command's output."""

from __future__ import annotations

import json
import re
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest

from dregutil.cli.parser import build_parser
from images import Pusher
from program import Program
from servers import DistributionServer, find_program

TEXT = (Path(__file__).parents[2] / "docs" / "json.md").read_text()
SECTIONS = re.findall(r"^## `([^\n]*)`\n(.*?)```json\n(.*?)```", TEXT, re.DOTALL | re.MULTILINE)
EXAMPLES = {title: json.loads(block) for titles, _, block in SECTIONS for title in titles.split("`, `")}
REPORT = EXAMPLES.pop("report")  # a document of its own; test_report_document compares it
STORE = ("--store", "sqlite://FOLDER/store.sqlite")
LINES = {
    "list-repo-names": ["list-repo-names"],
    "list-tag-names": ["list-tag-names"],
    "ls": ["ls"],
    "query-repos": ["query-repos", "-r", "shop/web"],
    "query-tags": ["query-tags", "-r", "shop/web", "--no-match-all-tags", "-t", "1.0"],
    "remove-repos": ["remove-repos", "-r", "shop/web"],
    "remove-tags": ["remove-tags", "-r", "shop/web", "-t", "1.0", "also"],
    "remove-digests": ["remove-digests", "-r", "shop/web", "DIGEST", "--with-tags", "-y"],
    "cleanup": ["cleanup", "-f", "clean.yml", "-y"],
    "apply": ["apply", "plan.jsonl", "-y"],
    "remove-tags --dry-run": ["remove-tags", "-r", "shop/web", "-t", "1.0", "also", "--dry-run"],
    "plan show": ["plan", "show", "plan.jsonl"],
    "apply --dry-run": ["apply", "plan.jsonl", "--dry-run"],
    "plan diff": ["plan", "diff", "none.jsonl", "plan.jsonl"],
    "refresh": ["refresh"],
    "find": ["find", "shop/web:1.0"],
    "inspect": ["inspect", "shop/web:1.0"],
    "du": ["du"],
    "du --by tag": ["du", "--by", "tag"],
    "du --by namespace": ["du", "--by", "namespace"],
    "du --by label=team": ["du", "--by", "label=team"],
    "du --by layer": ["du", "--by", "layer"],
    "history": ["history"],
    "history RUN": ["history", "RUN"],
    "undo": ["undo", "-y"],
    "undo --list": ["undo", "--list"],
    "hold": ["hold", "shop/web:1.0", "--for", "30d"],
    "hold --list": ["hold", "--list"],
    "doctor": ["doctor"],
    "cleanup --dry-run": ["cleanup", "-f", "policy.yml", "--dry-run"],
    "cleanup --dry-run --details": ["cleanup", "-f", "policy.yml", "--dry-run", "--details"],
    "why": ["why", "shop/web:1.0", "-f", "policy.yml"],
    "policy check": ["policy", "check", "policy.yml"],
    "pulls": ["pulls", "shop/web:1.0"],
    "pulls read": ["pulls", "read", "access.log"],
    "collect": [
        "collect",
        "-y",
        "--keep-undo",
        "0d",
        "--storage",
        "STORAGE",
        "--",
        *["COLLECTOR", "garbage-collect", "CONFIG"],
    ],
    "config show": ["config", "show"],
    "config path": ["config", "path"],
    "plans": ["plans", *STORE],
    "plans show": ["plans", "show", "SUM", *STORE],
    "plans approve": ["plans", "approve", "SUM", *STORE],
    "plans reject": ["plans", "reject", "SUM", "--because", "the audit", *STORE],
    "remove-tags --approve": ["remove-tags", "-r", "shop/web", "-t", "1.0", "also", "--approve", *STORE],
    "cleanup --approve": ["cleanup", "-f", "clean.yml", "--approve", *STORE],
    "store migrate": ["store", "migrate", *STORE],
    "store check": ["store", "check", *STORE],
    "store import": ["store", "import", "state", *STORE],
    "store export": ["store", "export", "copy", *STORE],
    "store export --parquet": ["store", "export", "--parquet", "lake", *STORE],
}
NOTHING = {"serve", "listen", "work", "completion", "help", "store grants", "policy import"}
"""Commands that print no objects."""
POLICY = """version: 1
policies:
  - {name: releases, repositories: ["**"], keep: {last: 3}}
  - {name: old, repositories: ["**"], keep: {last: 1}}
"""
CLEAN = """version: 1
policies:
  - {name: clean, repositories: ["**"], keep: {within: 1s}, min_age: 0s, max_remove: 100%}
"""
ACCESS = (
    "127.0.0.1 - - [25/Nov/2026:00:00:02 +0000] "
    '"GET /v2/shop/web/manifests/1.0 HTTP/1.1" 200 528 "" "containerd/2.1.0"\n'
)


@pytest.fixture
def program(registry_server: DistributionServer, pusher: Pusher, tmp_path: Path) -> Program:
    config = {"created": "2025-03-01T10:00:00Z", "config": {"Labels": {"team": "web"}}}
    for name, text in (("policy.yml", POLICY), ("clean.yml", CLEAN), ("access.log", ACCESS)):
        (tmp_path / name).write_text(text)
    image = pusher.push_image("shop/web", "1.0", "also", seed="one", config=config)
    pusher.push_image("shop/web", f"sha256-{image['digest'][7:]}.sig", seed="signature")
    return Program(registry_server.url, tmp_path)


@pytest.mark.parametrize("title", EXAMPLES)
def test_an_example_has_the_shape_of_the_output(
    title: str, program: Program, registry_server: DistributionServer
) -> None:
    line = prepared(title, program, registry_server)
    done = program.run("-c", "cache.json", "--format", "json", *line)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert isinstance(found, list)
    if title.startswith("du"):
        assert list(found.pop()) == ["total"]
    assert found
    for one in found:
        mixed = {"value": one["value"]} if title == "config show" else {}  # a string, a number, a list
        compare({**EXAMPLES[title], **mixed}, one)
    lines = program.run("-c", "cache.json", "--format", "jsonl", *line) if "undo" not in title else None
    assert lines is None or all(isinstance(json.loads(text), dict) for text in lines.stdout.splitlines())


def prepared(title: str, program: Program, server: DistributionServer) -> list[str]:
    """The command line, after its preparation."""
    if title.startswith(("apply", "plan")):
        program.run(*LINES["remove-tags"], "--plan-out", "plan.jsonl")
        program.run(*LINES["remove-tags"], "-x", "1.0", "also", "--plan-out", "none.jsonl")
    if title in ("history", "history RUN", "undo", "undo --list", "collect"):
        assert program.run(*LINES["remove-tags"]).returncode == 0
    if title == "hold --list":
        assert program.run(*LINES["hold"]).returncode == 0
    if title == "refresh":
        program.run("-c", "cache.json", "refresh")
    if title == "remove-digests":
        image = json.loads(program.run("inspect", "shop/web:1.0", "--format", "json").stdout)[0]
        return [image["digest"] if word == "DIGEST" else word for word in LINES[title]]
    if title == "collect":
        server.stop()
    if title in ("cleanup", "cleanup --approve"):
        with Pusher(server.url) as pusher:  # the newest, which stays
            pusher.push_image("shop/web", "2.0", seed="two", config={"created": "2025-04-01T10:00:00Z"})
    planned = stored(title, program)
    words = {
        "SUM": planned,
        "RUN": program.runs[0].name if program.runs else "",
        "STORAGE": str(server.storage),
        "COLLECTOR": find_program(*server.program),
        "CONFIG": str(server.configuration),
    }
    return [words.get(word, word).replace("FOLDER", str(program.folder)) for word in LINES[title]]


def stored(title: str, program: Program) -> str:
    """Prepare a store; the sum of the plan that waits there, empty if none does."""
    own = [word.replace("FOLDER", str(program.folder)) for word in STORE]
    if title.startswith("store") and title != "store migrate":
        assert program.run(*LINES["remove-tags"]).returncode == 0
        assert program.run("store", "migrate", *own).returncode == 0
    if title.startswith("store export"):
        assert program.run("store", "import", "state", *own).returncode == 0
    if not title.startswith("plans"):
        return ""
    return program.run(*LINES["remove-tags"], "--approve", *own).stdout.strip()


def compare(example: Any, found: Any) -> None:
    """The same names in the same order, and values of the same type; empty and unknown values match anything."""
    if found is None:
        return
    assert isinstance(found, float) or type(example) is type(found), (example, found)
    if isinstance(example, dict) and "team" not in example:
        assert list(example) == list(found)
        for name in example:
            compare(example[name], found[name])
    elif isinstance(example, list) and example:
        for one in found:
            compare(example[0], one)


def test_every_command_that_prints_objects_is_documented() -> None:
    """Each command, and each of the actions of one that has them; without an action, the first is meant."""
    assert set(LINES) == set(EXAMPLES)
    commands = set()
    for name, parser in build_parser().command_parsers().items():
        actions = next((one.choices for one in parser._actions if one.dest == "action" and one.choices), None)
        commands |= {f"{name} {action}".removesuffix(" list") for action in actions or ()} or {name}
    documented = {" ".join(takewhile(lambda word: not word.startswith("-"), title.split())) for title in EXAMPLES}
    missing = {one for one in commands if one.split()[0] not in NOTHING} - NOTHING - documented - {"report"}
    assert not missing
