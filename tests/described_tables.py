"""The tables of an export as docs/analysis.md shows them."""

from __future__ import annotations

from collections.abc import Iterator

from dregutil.store.parquet.schema import TABLES, Table

__all__ = ["described"]


def described() -> str:
    """The section of all tables, from its heading to its last line."""
    return "\n".join(["## Tables", *(line for table in TABLES for line in _lines(table))]) + "\n"


def _lines(table: Table) -> Iterator[str]:
    yield from ("", f"### {table.name}", "", f"{table.about} `day` is that {table.day}.", "")
    yield from ("| column | type | |", "|---|---|---|")
    for column in table.columns:
        yield f"| `{column.name}` | {column.type}{', or null' if column.may_be_null else ''} | {column.what} |"
