"""Commands for what several machines share."""

from __future__ import annotations

import argparse

from dregutil.cli.options.command import Command

__all__ = ["COMMANDS", "TITLE"]


def _add_store(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "action",
        choices=("migrate", "check", "grants", "export", "import"),
        help=(
            "migrate: make its tables, or bring them up to date; check: its version, sizes, leases, unfinished runs, "
            "and what this role may do; grants: print the SQL of its roles; export: write runs into a state folder; "
            "import: bring the runs of a state folder into the store"
        ),
    )
    add("folder", nargs="?", metavar="FOLDER", help="the state folder of an export or import")
    add(
        "--parquet",
        metavar="DIR",
        help=(
            "export tags, manifests, layers, runs and pulls as Parquet files into DIR, by registry and day, in place "
            "of a state folder"
        ),
    )
    add("runs", nargs="*", metavar="RUN", help="runs to export, by their names or beginnings (default: all)")


TITLE = "team"
COMMANDS = (
    Command(
        "store",
        "Set up, check, fill or empty the shared store.",
        "store:store",
        _add_store,
        changes=True,
        registry=False,
        default=False,
        about=(
            "Look after the store that --store names, which several machines share. It has no password on the command "
            "line: that comes from DREGUTIL_STORE_PASSWORD_FILE, PGPASSFILE, PGPASSWORD or DREGUTIL_STORE."
        ),
        examples=(
            ("store migrate --store sqlite:///tmp/team.sqlite", "make the tables of a store in a file"),
            ("store check --store sqlite:///tmp/team.sqlite", "what is in it, and who is at work"),
            ("store import ./state --store sqlite:///tmp/team.sqlite", "bring one machine's runs along"),
            ("store export ./copy --store sqlite:///tmp/team.sqlite", "all runs, as a state folder has them"),
            ("store export --parquet ./lake --store sqlite:///tmp/team.sqlite", "what it has, for DuckDB or Spark"),
            ("store grants", "the SQL of the roles of a store in PostgreSQL"),
        ),
    ),
)
