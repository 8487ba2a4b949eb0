"""The page about the configuration file: its tables are those of the program, and its examples run."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from configured import Machine
from documents import blocks, commands, dialogue, settled
from dregutil.cli.configurable import OPTIONS, Option, Place
from dregutil.cli.configuration import KEYS
from dregutil.oci.api_address import ApiAddress
from program import PROGRAM
from servers import DistributionServer

PAGE = "docs/configuration.md"
ROW = re.compile(r"^\| `(\w+)` \| (.+?) \| (.*?) ?\| (.*?) ?\| (.*?) ?\| .+ \|$", re.MULTILINE)


def rows() -> dict[str, tuple[str, ...]]:
    """Key to value, default, option and variable, without the backticks."""
    text = (Path(__file__).parents[2] / PAGE).read_text()
    return {key: tuple(cell.strip("`") for cell in cells) for key, *cells in ROW.findall(text)}


def cells(option: Option) -> tuple[str, ...]:
    default = option.default
    shown = "" if default in (None, ()) else f"{default:g}" if isinstance(default, float) else str(default)
    return option.form.what, shown.lower(), option.flag, option.variable


def test_the_tables_list_every_key_with_its_form_default_option_and_variable() -> None:
    found = rows()
    known = [
        key for place in (Place.REGISTRY, Place.TOP) for key in KEYS[place] if key not in ("registries", "schedule")
    ]
    assert sorted(found) == sorted(known)
    assert {option.name: found[option.name] for option in OPTIONS} == {option.name: cells(option) for option in OPTIONS}


@pytest.fixture
def configured(machine: Machine, registry_server: DistributionServer, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """The file of the page, with the address of a test server instead of both registries, and a `pass`."""
    machine.program("pass", "#!/bin/sh\necho secret\n")
    monkeypatch.setenv("PATH", f"{machine.folder}{os.pathsep}{os.environ['PATH']}")
    text, _ = blocks(PAGE, "toml")
    assert "password_command" in text
    server = text.replace("https://registry.example.com", registry_server.url)
    machine.write(server.replace("localhost:5000", registry_server.host))
    return machine


def _environment(home: Path) -> dict[str, str]:
    left = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "DREGUTIL", "REGISTRY"))}
    return {**left, "HOME": str(home), "PATH": f"{PROGRAM.parent}{os.pathsep}{os.environ['PATH']}"}


@pytest.mark.parametrize("line", commands(PAGE))
def test_every_command_runs(line: str, configured: Machine) -> None:
    found = configured.run(*shlex.split(line)[1:])
    assert found.code == 0, found.err


def test_the_example_of_what_is_in_force(tmp_path: Path, machine: Machine) -> None:
    (tmp_path / ".config").symlink_to(tmp_path / "config")
    text, _ = blocks(PAGE, "toml")
    machine.write(text)
    (block,) = blocks(PAGE, "console")
    ((line, output),) = dialogue(block)
    done = subprocess.run(
        ["bash", "-c", line],
        cwd=machine.here,
        env=_environment(tmp_path),
        capture_output=True,
        text=True,
        check=True,
    )
    assert settled(done.stdout) == settled(output)


def test_the_example_of_named_apis(machine: Machine) -> None:
    _, text = blocks(PAGE, "toml")
    machine.write(text)
    for name, repository in (("nexus", "docker-hosted"), ("github", None)):
        shown = machine.shown("-reg", name)
        assert (shown["api"]["source"], shown["api_repository"]["value"]) == ("file", repository)
        assert ApiAddress.parse(shown["api"]["value"], repository) is not None
