"""Commands for what several machines share."""

from __future__ import annotations

import argparse

from dregutil.cli.options.command import Command
from dregutil.cli.options.common import nonempty

__all__ = ["COMMANDS", "TITLE"]


_KINDS = ("refresh", "cleanup", "collect", "report", "apply")


def _add_store(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "action",
        choices=("migrate", "check", "grants", "export", "import"),
        help=(
            "migrate: create or upgrade the tables; check: show their version, sizes, leases, unfinished runs, and "
            "what this role may do; grants: print the SQL that creates the roles; export: write runs to a state "
            "folder; import: copy the runs of a state folder into the store"
        ),
    )
    add("folder", nargs="?", metavar="FOLDER", help="the state folder to export to or import from")
    add(
        "--parquet",
        metavar="DIR",
        help=(
            "export tags, manifests, layers, runs and pulls to DIR as Parquet files, partitioned by registry and day, "
            "instead of a state folder"
        ),
    )
    add("runs", nargs="*", metavar="RUN", help="runs to export, by name or by its first characters (default: all)")


def _add_work(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "action",
        nargs="?",
        choices=("pause", "resume", "pace"),
        help="instead of working: pause or resume a registry on all workers, or set their pace",
    )
    add("pace", nargs="?", metavar="N", help="with pace: requests per second of all workers together; 0: no limit")
    add(
        "--addr",
        default="127.0.0.1:8091",
        metavar="HOST:PORT",
        help="where /healthz and /metrics are (default: 127.0.0.1:8091)",
    )
    add(
        "--grace",
        default="30s",
        metavar="AGE",
        help="after SIGTERM, kill jobs that still run after this time (default: 30s)",
    )
    add(
        "--only",
        type=_kinds,
        metavar="KINDS",
        help=f"do only some of {','.join(_KINDS)}; apply means approved plans (default: all)",
    )


def _kinds(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    wrong = [name for name in names if name not in _KINDS]
    if wrong or not names:
        raise argparse.ArgumentTypeError(f"nothing is called {(wrong or [text])[0]!r}: {', '.join(_KINDS)}")
    return names


def _add_plans(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "action",
        nargs="?",
        default="list",
        choices=("list", "show", "approve", "reject"),
        help=(
            "list: waiting and running plans (default); show: all that a plan removes; approve, reject: decide on a "
            "plan"
        ),
    )
    add("sum", nargs="?", type=nonempty, metavar="SUM", help="the checksum of a plan, or its first digits")
    add("--because", type=nonempty, metavar="TEXT", help="with reject: the reason")
    add("--all", action="store_true", help="with list: also plans that have ended")
    add("--details", action="store_true", help="with show: all rows, not only the first 50")


TITLE = "team"
COMMANDS = (
    Command(
        "store",
        "Set up, check, import and export the shared store.",
        "store:store",
        _add_store,
        changes=True,
        registry=False,
        default=False,
        about=(
            "Manage the store that --store names, which several machines share. Its password is never on the command "
            "line: it comes from DREGUTIL_STORE_PASSWORD_FILE, DREGUTIL_STORE, PGPASSWORD or PGPASSFILE."
        ),
        examples=(
            ("store migrate --store sqlite:///tmp/team.sqlite", "create the tables of a store in a SQLite file"),
            ("store check --store sqlite:///tmp/team.sqlite", "show what is in it, and who is at work"),
            ("store import ./state --store sqlite:///tmp/team.sqlite", "copy the runs of one machine into the store"),
            ("store export ./copy --store sqlite:///tmp/team.sqlite", "write all runs to a state folder"),
            ("store export --parquet ./lake --store sqlite:///tmp/team.sqlite", "export it for DuckDB or Spark"),
            ("store grants", "print the SQL that creates the roles in PostgreSQL"),
        ),
    ),
    Command(
        "plans",
        "List, show, approve or reject plans in the store.",
        "plans:plans",
        _add_plans,
        changes=True,
        registry=False,
        default=False,
        about=(
            "List, approve and reject the plans in the shared store. `cleanup --approve` and `remove-tags --approve` "
            "only store a plan. A worker runs it once it is approved. Without an approval it expires after 24 hours."
        ),
        examples=(
            ("plans --store sqlite:///tmp/team.sqlite", "plans that wait for approval or are carried out"),
            ("plans --all --format json --store sqlite:///tmp/team.sqlite", "also plans that have ended, as JSON"),
        ),
    ),
    Command(
        "work",
        "Run schedules and approved plans from the store.",
        "work:work",
        _add_work,
        changes=True,
        registry=False,
        about=(
            "Run the configured schedules when they are due, and carry out approved plans, until SIGTERM. Any number "
            "of workers can share a store: one of them runs each scheduled command, and all of them work on the "
            "repositories of a run. After `work pause`, no worker starts anything on a registry until `work resume`."
        ),
        examples=(
            ("work --store sqlite:///tmp/team.sqlite", "do everything on one machine"),
            ("work --only apply --store sqlite:///tmp/team.sqlite", "only carry out approved plans"),
        ),
    ),
)
