"""A configuration file that is refused: others can write it, or it has a mistake, which is named with its line."""

from __future__ import annotations

import os

import pytest

from configured import Machine, prod

PROD = '[registries.prod]\naddress = "a"\n'


@pytest.mark.parametrize("mode", [0o666, 0o664, 0o646])
def test_a_file_that_others_can_write_is_refused(machine: Machine, mode: int) -> None:
    machine.write(prod("a.example.com"))
    machine.file.chmod(mode)
    found = machine.run("config", "show")
    assert (found.code, len(found.err.splitlines())) == (2, 2)
    assert "is writable by other users" in found.err
    assert f"chmod go-w {machine.file}" in found.err
    machine.file.chmod(0o600)
    assert machine.run("config", "show").code == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_or_link_of_another_user_is_refused(machine: Machine) -> None:
    machine.write(prod("a.example.com"))
    os.chown(machine.file, 1234, 1234)
    assert "belongs to another user" in machine.run("config", "show").err
    os.chown(machine.file, 0, 0)
    link = machine.folder / "link.toml"
    link.symlink_to(machine.file)
    assert machine.run("--config", str(link), "config", "show").code == 0
    os.chown(link, 1234, 1234, follow_symlinks=False)
    assert "a link of another user" in machine.run("--config", str(link), "config", "show").err


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/null", "pipe", "."])
def test_a_device_a_pipe_and_a_folder_are_refused(machine: Machine, path: str) -> None:
    os.mkfifo("pipe", 0o600)
    found = machine.run("--config", path, "config", "show")
    assert found.code == 2
    assert "is not a file" in found.err or "writable by other users" in found.err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (PROD + "user = robot\n", ":3: Invalid value"),
        ("a = [1,\n", ":1: "),
        (
            '[registries.prod]\nadress = "a.example.com"\n',
            ":2: unknown key 'adress' in [registries.prod] (did you mean",
        ),
        ('defualt = "prod"\n', ":1: unknown key 'defualt' (did you mean default?)"),
        ('[prod]\naddress = "a"\n', ":1: unknown table [prod]\n  a registry is [registries.prod]"),
        (PROD + 'password = "x"\n', ":3: a password does not belong in this file\n  remove it"),
        ('password = "x"\n', ":1: a password does not belong in this file"),
        ('[registries.prod]\nuser = "u"\n', ":1: [registries.prod] has no address"),
        ("[registries.prod]\naddress = 5\n", ":2: address is a string, not a whole number"),
        ('[registries.prod]\naddress = "https://u:p@a"\n', ":2: the registry's address contains credentials"),
        (PROD + 'timeout = "30"\n', ":3: timeout is a number above 0, not a string"),
        (PROD + "timeout = 0\n", ":3: timeout is a number above 0, not 0"),
        (PROD + "timeout = nan\n", ":3: timeout is a number above 0, not nan"),
        (PROD + "concurrency = 1.5\n", ":3: concurrency is a whole number of at least 1"),
        (PROD + "concurrency = true\n", ":3: concurrency is a whole number of at least 1, not true"),
        ("store = true\n", ":1: store is a URL or false, not true"),
        (PROD + 'insecure = "yes"\n', ":3: insecure is true or false, not a string"),
        (PROD + "verify = 1\n", ":3: verify is a path or false, not 1"),
        (PROD + 'aliases = "b"\n', ":3: aliases is an array of strings, not a string"),
        (PROD + "aliases = [\n  1,\n]\n", ":3: aliases is an array of strings, not an array"),
        (PROD + 'password_command = "pass"\n', ":3: password_command needs a user"),
        (PROD + 'user = "u"\npassword_command = "pass \'x"\n', ":4: password_command is a command"),
        ('[registries."a.b"]\naddress = "a"\n', ":1: 'a.b' is not a name"),
        ("registries = 1\n", ":1: registries is a table"),
        ("[registries]\nprod = 1\n", ":2: prod is a table"),
        (
            'default = "prdo"\n[registries.prod]\naddress = "a"\n',
            ":1: default is not the name of a registry in this file (did",
        ),
        ("default = 1\n", ":1: default is not the name"),
        ('color = "always"\n', ':1: color is "auto" or "never", not a string'),
        ('format = "json"\n', ":1: unknown key 'format'"),
        ("x = " + "[" * 5000, "nested too deeply"),
    ],
)
def test_a_mistake_is_named_with_its_line(machine: Machine, text: str, said: str) -> None:
    machine.write(text)
    found = machine.run("list-repo-names")
    assert found.code == 2
    assert found.err.startswith(f"dregutil: {machine.file}")
    assert said in found.err
    assert len(found.err.splitlines()) <= 2


def test_a_file_that_is_no_text_is_refused(machine: Machine) -> None:
    machine.file.write_bytes(b"\xff\xfe")
    assert "is not UTF-8 text" in machine.run("config", "show").err
    machine.file.write_bytes(b"#" * (1 << 21))
    assert "more than 1 MB" in machine.run("config", "show").err
