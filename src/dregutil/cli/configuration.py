"""The configuration file: where it is, who may write it, and what it says.

It names where passwords go and a command that is run, so a file that another user can write is refused, as ssh does.
The folder does not matter: another user's file in it is refused, too.
"""

from __future__ import annotations

import os
import re
import stat
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn, cast

from dregutil.cli.configurable import OPTIONS, Option, Place
from dregutil.errors import UsageError
from dregutil.files import others_link, short_path, trusted_owners
from dregutil.oci.names import RegistryAddress
from dregutil.select.nearest import near
from dregutil.work.schedule import COMMANDS, Command, Schedule

__all__ = ["KEYS", "Configuration", "ConfiguredRegistry", "read_configuration"]

_LARGEST = 1 << 20  # bytes
_MOST_LINES_OF_A_VALUE = 50
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*")
_AT_LINE = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")
_OF_PLACE: dict[Place, dict[str, Option]] = {
    place: {option.name: option for option in OPTIONS if option.place is place} for place in Place
}
KEYS = {
    Place.TOP: ("default", *_OF_PLACE[Place.TOP], "registries", "schedule"),
    Place.REGISTRY: ("address", *_OF_PLACE[Place.REGISTRY]),
}
_OF_SCHEDULE = ("run", "cron", "args", "registry", "timezone")
_NO_PASSWORD = (
    "a password does not belong in this file",
    'remove it; use password_command = "pass show …", `docker login` or a credential helper, or REGISTRY_PASSWORD',
)
_TYPES = {str: "a string", int: "a whole number", float: "a number", list: "an array"}


@dataclass(frozen=True, slots=True)
class ConfiguredRegistry:
    """A registry of the file. `table` holds the values of its options, read."""

    name: str
    address: RegistryAddress
    table: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Configuration:
    """What a file says. `top` holds the values of the options that are not those of a registry. Whether the cron
    lines of `schedules` can be used is not checked yet."""

    path: Path
    default: str | None
    top: Mapping[str, object]
    registries: Mapping[str, ConfiguredRegistry]
    schedules: Mapping[str, Schedule] = field(default_factory=dict)


def read_configuration(path: Path) -> Configuration:
    """The configuration in a file. Raises UsageError if it cannot be used; FileNotFoundError if there is none."""
    text = _read(path)
    try:
        document = tomllib.loads(text)
    except RecursionError:
        raise UsageError(f"{short_path(path)} is nested too deeply") from None
    except ValueError as error:
        found = _AT_LINE.search(str(error))
        line = found[1] or text.rstrip().count("\n") + 1 if found else ""
        message = _AT_LINE.sub("", str(error))
        raise UsageError(
            f"{short_path(path)}:{line}: {message}" if line else f"{short_path(path)}: {message}",
            advice="the file is TOML: strings are quoted, and a registry is a table such as [registries.prod]",
        ) from error
    return _Reader(path, text).read(document)


def _read(path: Path) -> str:
    """The text of the file. Raises UsageError if another user can write it, or it is no text."""
    shown, link = short_path(path), others_link(path)
    if link is not None:
        raise UsageError(f"{shown} is refused: it is a link of another user, or leads to another user's file")
    try:
        # Without O_NONBLOCK a pipe would be waited for.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            _check_owner(os.fstat(descriptor), shown)
            raw = b""
            while len(raw) <= _LARGEST and (part := os.read(descriptor, _LARGEST)):
                raw += part
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UsageError(f"{shown} cannot be read: {error.strerror}", advice="fix its permissions") from error
    if len(raw) > _LARGEST:
        raise UsageError(f"{shown} has more than {_LARGEST >> 20} MB")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{shown} is not UTF-8 text") from error


def _check_owner(found: os.stat_result, shown: str) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise UsageError(f"{shown} is not a file", advice="--config names another file; `None` reads none")
    if found.st_uid not in trusted_owners():
        raise UsageError(
            f"{shown} is refused: it belongs to another user",
            advice="it can name a command that is run; --config names another file, and `None` reads none",
        )
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise UsageError(
            f"{shown} is refused: it is writable by other users",
            advice=f"`chmod go-w {shown}`: it can name a command that is run",
        )


class _Reader:
    """Reads a document; an error names the file and the line."""

    def __init__(self, path: Path, text: str) -> None:
        self._path = path
        self._folder = path.parent
        self._text = text

    def read(self, document: Mapping[str, Any]) -> Configuration:
        tables = document.get("registries", {})
        if not isinstance(tables, dict):
            self._fail(("registries",), "registries is a table: [registries.NAME]")
        for name, value in document.items():
            if name not in KEYS[Place.TOP] and isinstance(value, dict):
                self._fail((name,), f"unknown table [{name}]", f"a registry is [registries.{name}]")
        top = self._options(document, (), Place.TOP)
        registries = {name: self._registry(name, table) for name, table in tables.items()}
        default = document.get("default")
        if default is not None and (not isinstance(default, str) or default not in registries):
            named = default if isinstance(default, str) else ""
            self._fail(("default",), f"default is not the name of a registry in this file{near(named, registries)}")
        schedules = self._schedules(document.get("schedule", {}), registries)
        return Configuration(self._path, default, top, registries, schedules)

    def _schedules(self, tables: object, registries: Collection[str]) -> dict[str, Schedule]:
        if not isinstance(tables, dict):
            self._fail(("schedule",), "schedule is a table: [schedule.NAME]")
        return {name: self._schedule(name, table, registries) for name, table in tables.items()}

    def _schedule(self, name: str, table: object, registries: Collection[str]) -> Schedule:
        path = ("schedule", name)
        if not isinstance(table, dict):
            self._fail(path, f"{name} is a table: [schedule.{name}]")
        if not _NAME.fullmatch(name):
            self._fail(path, f"{name!r} is not a name", "a name has letters, digits, '_' and '-'")
        for key in table:
            self._check_known(key, path, _OF_SCHEDULE)
        args = table.get("args", [])
        if not isinstance(args, list) or not all(isinstance(one, str) for one in args):
            self._fail((*path, "args"), 'args is an array of strings, such as ["-f", "policy.yml", "-y"]')
        texts = {key: table[key] for key in _OF_SCHEDULE if key in table and key != "args"}
        for key, value in texts.items():
            if not isinstance(value, str) or not value:
                self._fail((*path, key), f"{key} is a string, not {_type_of(value)}")
        for key in ("run", "cron"):
            if key not in texts:
                example = 'cron = "17 2 * * *"' if key == "cron" else 'run = "cleanup"'
                self._fail(path, f"[schedule.{name}] has no {key}", f"add {example}")
        if texts["run"] not in COMMANDS:
            self._fail(
                (*path, "run"), f"{texts['run']!r} does not run on a schedule", f"known are {', '.join(COMMANDS)}"
            )
        registry = texts.get("registry", "")
        if registry and registry not in registries:
            try:
                RegistryAddress.parse(registry)
            except UsageError as error:
                self._fail((*path, "registry"), error.message, error.advice)
        line = _line_of(self._text, (*path, "cron"))
        where = f"{short_path(self._path)}{f':{line}' if line else ''}"
        command = cast("Command", texts["run"])
        zone = texts.get("timezone", "UTC")
        return Schedule(name, command, texts["cron"], tuple(args), registry, zone, where)

    def _registry(self, name: str, table: object) -> ConfiguredRegistry:
        path = ("registries", name)
        if not isinstance(table, dict):
            self._fail(path, f"{name} is a table: [registries.{name}]")
        if not _NAME.fullmatch(name):
            self._fail(path, f"{name!r} is not a name", "a name has letters, digits, '_' and '-': -reg takes it")
        values = self._options(table, path, Place.REGISTRY)
        address = table.get("address")
        if address is None:
            self._fail(path, f"[registries.{name}] has no address", 'add address = "https://registry.example.com"')
        if not isinstance(address, str):
            self._fail((*path, "address"), f"address is a string, not {_type_of(address)}")
        if "password_command" in values and "user" not in values:
            self._fail((*path, "password_command"), "password_command needs a user", 'add user = "…" beside it')
        try:
            return ConfiguredRegistry(name, RegistryAddress.parse(address), values)
        except UsageError as error:
            self._fail((*path, "address"), error.message, error.advice)

    def _options(self, table: Mapping[str, object], path: tuple[str, ...], place: Place) -> dict[str, object]:
        """The values of a table's options. Raises UsageError for unknown keys and values of another type."""
        found: dict[str, object] = {}
        for key, value in table.items():
            option = _OF_PLACE[place].get(key)
            if option is None:
                self._check_known(key, path, KEYS[place])
                continue
            try:
                found[key] = option.form.toml(value, self._folder)
            except ValueError:
                got = value if isinstance(value, int | float) and not isinstance(value, bool) else _type_of(value)
                self._fail((*path, key), f"{key} is {option.form.what}, not {got}")
            except UsageError as error:
                self._fail((*path, key), error.message, error.advice)
        return found

    def _check_known(self, key: str, path: tuple[str, ...], known: Collection[str]) -> None:
        if key in known:
            return
        if key == "password":
            self._fail((*path, key), *_NO_PASSWORD)
        where = f" in [{'.'.join(path)}]" if path else ""
        self._fail((*path, key), f"unknown key {key!r}{where}{near(key, known)}", f"known are {', '.join(known)}")

    def _fail(self, path: tuple[str, ...], message: str, advice: str = "") -> NoReturn:
        line = _line_of(self._text, path)
        raise UsageError(f"{short_path(self._path)}{f':{line}' if line else ''}: {message}", advice=advice)


def _type_of(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return _TYPES.get(type(value), "a table" if isinstance(value, dict) else "a date")


def _line_of(text: str, path: tuple[str, ...]) -> int | None:
    """The line where a key is set, which tomllib does not tell: the text before it lacks the key, with it the text has
    it. None if it is not found."""
    lines = text.splitlines(keepends=True)
    for number, line in enumerate(lines, 1):
        if path[-1] in line and _has("".join(lines[: number - 1]), path) is False:
            for end in range(number, min(number + _MOST_LINES_OF_A_VALUE, len(lines) + 1)):
                if (found := _has("".join(lines[:end]), path)) is not None:
                    if found:
                        return number
                    break
    return None


def _has(text: str, path: tuple[str, ...]) -> bool | None:
    """Whether a TOML text has a key; None if the text is cut in the middle of a value."""
    try:
        found: Any = tomllib.loads(text)
    except ValueError:
        return None
    for key in path:
        if not isinstance(found, dict) or key not in found:
            return False
        found = found[key]
    return True
