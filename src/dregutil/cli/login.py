"""The password for a command: given, asked for, or what the `password_command` of the configuration prints."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dregutil.cli.chosen import ChosenRegistry
from dregutil.cli.configurable import Found, Source
from dregutil.errors import CredentialError, UsageError

__all__ = ["Login", "Password", "read_login"]

Password = str | Callable[[], str] | None
_NONE = Found(None, Source.DEFAULT)


@dataclass(frozen=True, slots=True)
class Login:
    """A password, or a function that returns it; where the login comes from; and what may be shown of the password."""

    password: Password = field(repr=False)
    found: Found
    shown: Found


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
        from dregutil.cli.password_command import PasswordCommand  # imports subprocess, which takes a while

        shown = Found("from password_command", command.source, command.where)
        return Login(PasswordCommand(command.value, registry.name, file.parent), user, shown)
    if user.source is Source.FILE:
        return Login(_MissingPassword(user.value, registry.name), user, _NONE)
    if user.value and registry.address is not None and sys.stdin.isatty() and sys.stderr.isatty():
        if args.command == "config":
            return Login(None, user, Found("to be asked for", Source.DEFAULT))
        import getpass

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
