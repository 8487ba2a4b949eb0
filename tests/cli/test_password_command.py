"""The `password_command` of a configuration file: when it is run, who gets what it prints, and what it may not do."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from configured import ASKING, PASSWORD, USER, Guarded, Machine, asked, prod
from dregutil.cli.password_command import PasswordCommand
from dregutil.errors import CredentialError
from program import PROGRAM


@pytest.fixture
def asking(machine: Machine, guarded: Guarded) -> Machine:
    """A registry whose password a command prints."""
    machine.program("asking", ASKING)
    machine.write(prod(guarded.url, f'user = "{USER}"', "password_command = \"./asking 'the prod'\""))
    guarded.closed = True
    return machine


def test_a_password_command_is_run_once_and_only_if_the_registry_is_reached(asking: Machine, guarded: Guarded) -> None:
    remove = [str(PROGRAM), "remove-tags", "-r", "shop/web", "-t", "1.0"]
    done = subprocess.run(remove, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)
    assert asked(asking) == 1
    assert "for the prod" in done.stderr  # what it has to say
    assert asking.run("--refresh", "list-repo-names").code == 0
    assert asked(asking) == 2
    for arguments in (("list-repo-names",), ("config", "show"), ("history",), ("-reg", guarded.url, "config", "show")):
        assert asking.run(*arguments).code == 0
    assert asked(asking) == 2


def test_its_output_is_sent_nowhere_else(asking: Machine, guarded: Guarded, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its host the registry has no login, and for another user the command is not run."""
    assert asking.run("-reg", guarded.url, "--refresh", "list-repo-names").code == 4
    for arguments in (("-u", "other"), ("-u", "other", "-p", "x"), ("-p", "x")):
        assert asking.run(*arguments, "--refresh", "list-repo-names").code == 4
    monkeypatch.setenv("REGISTRY_PASSWORD", "x")
    assert asking.run("--refresh", "list-repo-names").code == 4
    assert asked(asking) == 0
    monkeypatch.delenv("REGISTRY_PASSWORD")
    assert asking.run("-u", USER, "--refresh", "list-repo-names").code == 0
    assert asked(asking) == 1


def test_files_that_the_environment_names_come_before_it(
    asking: Machine, guarded: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    auths = {"auths": {guarded.host: {"auth": "cm9ib3Q6Y29ycmVjdCBob3JzZQ=="}}}
    Path("auth.json").write_text(json.dumps(auths))
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(Path("auth.json").absolute()))
    assert asking.run("list-repo-names").code == 0
    assert asked(asking) == 0
    Path("auth.json").write_text("{}")
    assert asking.run("--refresh", "list-repo-names").code == 0
    assert asked(asking) == 1


def test_logins_that_docker_keeps_come_after_it(
    asking: Machine, guarded: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = {"auths": {guarded.host: {"auth": "cm9ib3Q6d3Jvbmc="}}}
    Path("config.json").write_text(json.dumps(wrong))
    monkeypatch.setenv("DOCKER_CONFIG", str(Path().absolute()))
    assert asking.run("list-repo-names").code == 0
    assert asked(asking) == 1


def test_it_does_not_read_standard_input(asking: Machine) -> None:
    asking.program("asking", f"{ASKING}cat >>asked\n")
    subprocess.run([str(PROGRAM), "list-repo-names"], input="a line\n", capture_output=True, text=True, check=True)
    assert asked(asking) == 1


def test_doctor_names_the_file_as_the_place_of_the_login(asking: Machine) -> None:
    found = asking.run("doctor", "--quick")
    assert f"login          {USER}, from {asking.file} (prod), Basic" in found.out


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("#!/bin/sh\necho s3cret; exit 3\n", "password_command of prod: ./asking failed (exit status 3)"),
        ("#!/bin/sh\n", "password_command of prod: ./asking printed no password"),
        ("#!/bin/sh\necho; echo s3cret\n", "printed no password"),
        ("#!/absent\n", "cannot be run: No such file or directory"),
    ],
)
def test_a_password_command_that_fails_is_one_line_and_quotes_nothing(asking: Machine, script: str, said: str) -> None:
    asking.program("asking", script)
    found = asking.run("-l", "debug", "list-repo-names")
    assert found.code == 4
    assert said in found.err
    assert "s3cret" not in found.err + found.out


def test_a_command_without_a_slash_is_looked_up_in_the_path(
    asking: Machine, guarded: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    asking.write(asking.file.read_text().replace("./asking", "asking"))
    Path("asking").write_text("#!/bin/sh\necho wrong\n")  # never one in the current folder
    Path("asking").chmod(0o700)
    found = asking.run("list-repo-names")
    assert (found.code, "is not installed" in found.err) == (4, True)
    monkeypatch.setenv("PATH", f"{asking.folder}:{os.environ['PATH']}")
    assert asking.run("list-repo-names").code == 0


def test_a_user_without_any_password_is_an_error_once_the_registry_is_reached(
    machine: Machine, guarded: Guarded
) -> None:
    machine.write(prod(guarded.url, f'user = "{USER}"'))
    assert machine.run("config", "show").code == 0
    found = machine.run("list-repo-names")
    assert found.code == 4
    assert f"there is no password for {USER} at prod" in found.err


def test_a_password_that_may_have_expired_is_asked_for_again(machine: Machine) -> None:
    machine.program("asking", ASKING)
    now = 0.0
    command = PasswordCommand(["./asking"], "prod", machine.folder, clock=lambda: now)
    assert command() == command() == PASSWORD
    assert asked(machine) == 1
    now = 301.0
    assert command() == PASSWORD
    assert asked(machine) == 2
    assert PASSWORD not in repr(command)


def test_ctrl_c_at_a_password_command_ends_the_program(asking: Machine) -> None:
    asking.program("asking", "#!/bin/sh\nkill -INT $$\n")
    found = asking.run("list-repo-names")
    assert (found.code, found.err) == (130, "dregutil: interrupted\n")


def test_a_password_command_that_never_ends(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dregutil.cli.password_command._TIMEOUT", 0.2)
    with pytest.raises(CredentialError, match="did not end within"):
        PasswordCommand(["sleep", "60"], "prod", machine.folder)()
