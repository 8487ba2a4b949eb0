"""The password for a command: given, asked for, or what the `password_command` of the configuration prints."""

from __future__ import annotations

import argparse
import getpass
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dregutil.cli.chosen import ChosenRegistry
from dregutil.cli.configurable import Found, Source
from dregutil.errors import CredentialError, UsageError

__all__ = ["Login", "Password", "PasswordCommand", "read_login"]

Password = str | Callable[[], str] | None

_TIMEOUT = 60.0  # seconds: enough to type a passphrase
_AGAIN_AFTER = 300.0  # seconds: a password that is refused later than this may have expired
_NONE = Found(None, Source.DEFAULT)


@dataclass(frozen=True, slots=True)
class Login:
    """A password, or a function that returns it; where the login comes from; and what may be shown of the password."""

    password: Password = field(repr=False)
    found: Found
    shown: Found


class PasswordCommand:
    """Runs a command when the password is first needed, and keeps what it prints.

    The command is split into words as a shell would, but no shell runs it. It runs in the folder of the configuration
    file, without standard input; its standard error is that of this program. The first line of its output is the
    password. After five minutes it is run again if the registry refuses the password: tokens expire.
    """

    def __init__(
        self, words: Sequence[str], name: str, folder: Path, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`name` is that of the registry."""
        self._words = words
        self._name = name
        self._folder = folder
        self._clock = clock
        self._found: tuple[str, float] | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._words[0]!r}, {self._name!r})"

    def __call__(self) -> str:
        """The password. Raises CredentialError, which names the program and never quotes its output."""
        if self._found is None or self._clock() - self._found[1] >= _AGAIN_AFTER:
            self._found = self._run(), self._clock()
        return self._found[0]

    def _run(self) -> str:
        what = f"password_command of {self._name} ({self._words[0]})"
        try:
            done = subprocess.run(  # noqa: S603 - no shell; the user's own file names the command
                [self._program(what), *self._words[1:]],
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                timeout=_TIMEOUT,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise CredentialError(f"{what} did not end within {_TIMEOUT:g} s") from None
        except OSError as error:
            raise CredentialError(f"{what} cannot be run: {error.strerror}") from None
        if done.returncode:
            raise CredentialError(f"{what} failed (exit status {done.returncode})", advice="run it to see why")
        password = done.stdout.partition(b"\n")[0].removesuffix(b"\r").decode(errors="surrogateescape")
        if not password:
            raise CredentialError(f"{what} printed no password", advice="the first line of its output is the password")
        return password

    def _program(self, what: str) -> str:
        """The path of the program. A name with a slash starts from the folder of the file, not from the current one."""
        if "/" in self._words[0]:
            return str(self._folder / Path(self._words[0]).expanduser())
        found = shutil.which(self._words[0])
        if found is None:
            raise CredentialError(f"{what} is not installed", advice="no shell runs it; use sh -c '…' if it needs one")
        return found


class _MissingPassword:
    """For a user of the configuration, if there is no password anywhere."""

    def __init__(self, user: str, name: str) -> None:
        self._user = user
        self._name = name

    def __call__(self) -> str:
        """Raises CredentialError."""
        raise CredentialError(
            f"there is no password for {self._user} at {self._name}",
            advice=f"add password_command to [registries.{self._name}], or set REGISTRY_PASSWORD, "
            f"or give -u {self._user} to be asked on a terminal",
        )


def read_login(
    args: argparse.Namespace,
    env: Mapping[str, str],
    found: Mapping[str, Found],
    registry: ChosenRegistry,
    file: Path | None,
) -> Login:
    """The login for a registry. Asks for a password on a terminal if there is a user without one, but not for `config`.

    The command of the configuration `file` is used only for the registry and the user that it is written for.
    """
    user = found["user"]
    given = _given(args, env)
    if given.value is not None:
        shown = Found("set", given.source, given.where)
        return Login(given.value, given if user.source is Source.FILE else user, shown)
    command = found["password_command"]
    if command.value and file is not None and user.value == registry.table.get("user"):
        shown = Found("from password_command", command.source, command.where)
        return Login(PasswordCommand(command.value, registry.name, file.parent), user, shown)
    if user.source is Source.FILE:
        return Login(_MissingPassword(user.value, registry.name), user, _NONE)
    if user.value and registry.address is not None and sys.stdin.isatty() and sys.stderr.isatty():
        if args.command == "config":
            return Login(None, user, Found("to be asked for", Source.DEFAULT))
        return Login(getpass.getpass(f"Password of {user.value} at {registry.address.name}: "), user, _NONE)
    return Login(None, user, _NONE)


def _given(args: argparse.Namespace, env: Mapping[str, str]) -> Found:
    """The password from the command line or the environment; None if there is none."""
    if getattr(args, "password_stdin", False):
        if getattr(args, "repositories_from", None) == "-":
            raise UsageError(
                "standard input cannot hold both the password and the repositories",
                advice="write the repositories into a file, or give the password in REGISTRY_PASSWORD",
            )
        return Found(sys.stdin.readline().rstrip("\r\n"), Source.FLAG, "--password-stdin")
    password: str | None = getattr(args, "password", None)
    if password is not None:
        return Found(password, Source.FLAG, "-p")
    return Found(env.get("REGISTRY_PASSWORD"), Source.ENVIRONMENT, "REGISTRY_PASSWORD")
