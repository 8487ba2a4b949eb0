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


def _add_work(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "action",
        nargs="?",
        choices=("pause", "resume", "pace"),
        help="instead of working: pause a registry for all workers, resume it, or set their pace",
    )
    add("pace", nargs="?", metavar="N", help="with pace: requests a second of all workers together; 0: no limit")
    add("--addr", default="127.0.0.1:8091", metavar="HOST:PORT", help="of /healthz, /metrics (default: 127.0.0.1:8091)")
    add("--grace", default="30s", metavar="AGE", help="after SIGTERM, until jobs are killed (default: 30s)")
    add(
        "--only",
        type=_kinds,
        metavar="KINDS",
        help=f"do only some of {','.join(_KINDS)}; apply: carry out approved plans (default: all)",
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
        help="list: those that wait or run (default); show: one with all that it removes; approve; reject",
    )
    add("sum", nargs="?", type=nonempty, metavar="SUM", help="the sum of a plan, or its first digits")
    add("--because", type=nonempty, metavar="TEXT", help="with reject: why")
    add("--all", action="store_true", help="with list: also those that ended")
    add("--details", action="store_true", help="with show: every row, not only the first 50")


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
    Command(
        "plans",
        "Approve or reject the plans that wait in the store.",
        "plans:plans",
        _add_plans,
        changes=True,
        registry=False,
        default=False,
        about=(
            "Work with the plans in the shared store. `cleanup --approve` and `remove-tags --approve` put a plan there "
            "instead of removing anything. Once it is approved, a worker carries it out; if nobody approves it, it "
            "expires after 24 hours."
        ),
        examples=(
            ("plans --store sqlite:///tmp/team.sqlite", "what waits for approval, and what is carried out"),
            ("plans --all --format json --store sqlite:///tmp/team.sqlite", "also what ended, as JSON"),
        ),
    ),
    Command(
        "work",
        "Work on schedules and approved plans of the store.",
        "work:work",
        _add_work,
        changes=True,
        registry=False,
        about=(
            "Run the commands of the configured schedules when they are due, and carry out approved plans, until "
            "SIGTERM. Any number of workers share a store: each tick is one worker's, and a run is everybody's. "
            "`work pause` lets nothing begin on a registry, on any worker, until `work resume`."
        ),
        examples=(
            ("work --store sqlite:///tmp/team.sqlite", "everything, on one machine"),
            ("work --only apply --store sqlite:///tmp/team.sqlite", "approved plans alone"),
        ),
    ),
)
