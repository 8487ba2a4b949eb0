"""`config`: shows which settings are in force and where each comes from, or where the configuration file is."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator

from dregutil.cli.configurable import OPTIONS, Source
from dregutil.cli.output import emit, note
from dregutil.cli.settings import Settings, configuration_file
from dregutil.report.configuration import SettingRow, setting_lines, setting_objects
from dregutil.report.terminal import width_of

__all__ = ["config"]


def config(args: argparse.Namespace, settings: Settings) -> int:
    if args.action == "path":
        path, _ = configuration_file(vars(args), os.environ)
        exists = path is not None and path.exists()
        emit(settings, [{"path": None if path is None else str(path), "exists": exists}], [str(path)] if path else [])
        if not exists:
            note(settings, "no configuration file is read" if path is None else "there is no file yet")
        return 0
    rows = list(_rows(settings))
    emit(settings, setting_objects(rows), setting_lines(rows, width=width_of(sys.stdout)))
    return 0


def _rows(settings: Settings) -> Iterator[SettingRow]:
    """A row for each setting. Secrets are left out: of a command only the program is shown, of a password only whether
    there is one."""
    found = settings.found
    registry = found["registry"]
    yield SettingRow("registry", settings.name or registry.value, registry.source, registry.where)
    address = None if settings.registry is None else settings.registry.spelled
    if settings.name:
        yield SettingRow("address", address, Source.FILE, str(settings.configuration))
    else:
        yield SettingRow("address", address, registry.source, registry.where)
    for option in OPTIONS:
        one, value = found[option.name], found[option.name].value
        if option.name == "password_command":
            value = " ".join((*value[:1], *(["…"] if value[1:] else []))) or None
        if option.name == "notify":
            value = "set" if value else value
        if option.name == "cache":
            value = False if one.source is not Source.DEFAULT and one.value is None else settings.cache
        if option.name == "state_dir":
            value = settings.state_dir
        if option.name == "store":
            value = None if value is None else str(value)  # without its password
        yield SettingRow(option.name, value, one.source, one.where)
        if option.name == "user":
            password = found["password"]
            yield SettingRow("password", password.value, password.source, password.where)
