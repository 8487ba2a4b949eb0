"""The settings in force, as `config show` prints them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from dregutil.files import short_path
from dregutil.report.layout import Column, table_lines

__all__ = ["SettingRow", "setting_lines", "setting_objects"]


@dataclass(frozen=True, slots=True)
class SettingRow:
    """A setting. `source` is "flag", "environment", "file" or "default"; `where` names the option, variable or file."""

    key: str
    value: object
    source: str
    where: str = ""


def setting_lines(rows: Iterable[SettingRow], *, width: int | None = None) -> Iterator[str]:
    """A line for each setting: its key, its value as the file has it, and where it comes from. They are cut to fit
    into `width`, if it is given."""
    columns = (Column("SETTING"), Column("VALUE", cut="middle", least=12), Column("FROM", cut="middle", least=12))
    return table_lines(columns, [(row.key, _text(row.value), _where(row)) for row in rows], width=width)


def setting_objects(rows: Iterable[SettingRow]) -> list[dict[str, object]]:
    """The same as objects."""
    return [
        {"key": row.key, "value": _plain(row.value), "source": row.source, "where": row.where or None} for row in rows
    ]


def _where(row: SettingRow) -> str:
    return short_path(Path(row.where)) if row.source == "file" else row.where or row.source


def _text(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "-"
    return short_path(value) if isinstance(value, Path) else str(value)


def _plain(value: object) -> object:
    if isinstance(value, tuple):
        return list(value)
    return str(value) if isinstance(value, Path) else value
