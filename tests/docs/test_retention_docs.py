"""The retention manual: everything in it is valid, and every key is documented."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from test_policy_objects import without_places

from dregutil.retention.policyfile import read_policy
from dregutil.retention.policyfile.shape import KEYS
from images import Pusher, created
from program import Program
from servers import DistributionServer

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "retention.md").read_text()


CONFIGURATION = "notifications:"  # in the one YAML block that is the registry's own


@pytest.mark.parametrize(
    "block", [one for one in re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL) if CONFIGURATION not in one]
)
def test_every_policy_in_the_manual_is_valid(block: str) -> None:
    found = read_policy(block)
    assert found.policies or found.floor


def test_one_block_is_the_configuration_of_a_registry() -> None:
    assert TEXT.count(CONFIGURATION) == 1


def test_the_policy_in_python_is_that_of_the_introduction() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    found: dict[str, Any] = {}
    exec(code, found)
    assert without_places(found["policies"]) == without_places(read_policy(_introduced(), "written in Python"))


def test_the_manual_names_every_key() -> None:
    assert [key for keys in KEYS.values() for key in keys if key not in TEXT] == []


def test_keep_rules_in_the_comparison_are_valid() -> None:
    rules = re.findall(r"`(keep: \{.*?\})`", TEXT)
    assert len(rules) > 8
    for rule in rules:
        read_policy(f"version: 1\npolicies: [{{name: p, repositories: [x], {rule}}}]")


# Ages in days.
RELEASES = {
    "1.3.0": 260,
    "1.3.1": 200,
    "1.3.2": 160,
    "1.4.0": 120,
    "1.4.1": 95,
    "1.4.2": 60,
    "1.4.3": 41,
    "1.5.0-rc1": 30,
    "1.5.0": 20,
}
BUILDS = ("a1b2c3d", "1b2c3d4", "b2c3d4e", "2c3d4e5", "c3d4e5f", "3d4e5f6", "0000006", "0000007")
IN_USE = "registry.example.com/shop/web:1.3.0\nregistry.example.com/shop/web:1.4.3\nquay.io/coreos/etcd:v3.5\n"


@pytest.fixture
def manual(registry_server: DistributionServer, pusher: Pusher, tmp_path: Path) -> Callable[[str], str]:
    """Run a command from the manual, on the registry it describes; return what was written to both outputs."""
    _push_shop(pusher)
    program = Program(registry_server.url, tmp_path)
    (tmp_path / "cluster-images.txt").write_text(IN_USE)
    (tmp_path / "policy.yml").write_text(_introduced())
    (tmp_path / "policies.d").mkdir()
    (tmp_path / "policies.d" / "floor.yaml").write_text(next(block for block in _yaml_blocks() if "floor:" in block))
    for team in ("web", "api"):
        policy = f"version: 1\npolicies:\n  - {{name: {team}, repositories: ['{team}/**'], keep: {{last: 5}}}}\n"
        (tmp_path / "policies.d" / f"{team}.yaml").write_text(policy)

    def run(line: str) -> str:
        line = line.replace("registry.example.com", program.url.partition("://")[2])
        line = line.replace("/var/lib/registry", str(registry_server.storage))
        done = program.run(*shlex.split(line)[1:])
        assert done.returncode == 0, done.stderr
        return (done.stderr + done.stdout).replace(program.url.partition("://")[2], "registry.example.com")

    return run


def test_every_output_in_the_manual_is_that_of_the_commands(
    manual: Callable[[str], str], registry_server: DistributionServer, pusher: Pusher, tmp_path: Path
) -> None:
    shown = re.findall(r"```console\n\$ (dregutil .*?)\n(.*?)```", TEXT, re.DOTALL)
    assert len(shown) == 7
    for line, output in shown:
        if "--storage" in line:
            (strays,) = (block for block in _yaml_blocks() if "name: strays" in block)
            (tmp_path / "strays.yml").write_text(strays)
            _push_strays(pusher, registry_server.storage)
        found = manual(line)
        if "DREGUTIL_SHOW" in os.environ:
            print(f"```console\n$ {line}\n{found}```")
            continue
        assert _fits(_plain(output), _plain(found)), f"$ {line}\n{found}"


def test_the_mistake_in_the_manual_is_reported_as_shown(tmp_path: Path) -> None:
    (mistake,) = re.findall(r"^(policy\.yml:\d+:\d+: .*)$", TEXT, re.MULTILINE)
    (tmp_path / "policy.yml").write_text(_introduced().replace("keep: {last: 2,", "keep: {keep-lst: 2,"))
    done = Program("http://localhost:1", tmp_path).run("policy", "check", "policy.yml")
    assert done.stdout.splitlines() == [mistake]


def _yaml_blocks() -> list[str]:
    return re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)


def _introduced() -> str:
    """The policy of which the manual shows what it does."""
    (found,) = (block for block in _yaml_blocks() if "name: releases" in block and "name: branches" in block)
    return found


def _push_shop(pusher: Pusher) -> None:
    for version, days in RELEASES.items():
        tags = (version, "1.4", "latest") if version == "1.4.3" else (version,)
        pusher.push_image("shop/web", *tags, seed=version, config=created(days))
    for number, build in enumerate(BUILDS):
        pusher.push_image("shop/web", f"main-{build}", seed=build, config=created(21 - 2 * number))


def _push_strays(pusher: Pusher, storage: Path) -> None:
    children = [pusher.push_image("shop/web", seed=f"old {name}", config=created(50)) for name in ("one", "two")]
    pusher.push_index("shop/web", children=children)
    pusher.push_image("shop/web", seed="alone", config=created(40))
    pusher.push_image("shop/web", seed="young", config=created(3))
    pusher.push_image("shop/web", seed="undated")
    moment = datetime.now(UTC).timestamp() - 45 * 86400
    for link in storage.rglob("_manifests/revisions/*/*/link"):
        os.utime(link, (moment, moment))


def _plain(text: str) -> list[str]:
    """Lines without what differs between runs: times, digests, ages in seconds, and the addresses of this registry and
    its state."""
    for pattern, mark in (
        (r" -reg \S+ --state-dir [^\s`]+", ""),
        (r"\d{8}T\d{6}Z-[0-9a-f]{5}", "RUN"),
        (r"undo RUN [^`]*`", "undo RUN`"),  # the advice repeats the options of the command
        (r"\d{4}-\d\d-\d\d \d\d:\d\d", "DATE"),
        (r"sha256:[0-9a-f]{12,64}", "DIGEST"),
        (r"\b\d+s\b", "AGE"),
        (r"about \d+ s", "about 1 s"),
    ):
        text = re.sub(pattern, mark, text)
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]


def _fits(shown: list[str], found: list[str]) -> bool:
    """Whether lines are as shown; `…` matches any number of lines."""
    if not shown:
        return not found
    if shown[0] == "…":
        return any(_fits(shown[1:], found[place:]) for place in range(len(found) + 1))
    return bool(found) and shown[0] == found[0] and _fits(shown[1:], found[1:])
