"""Commands that remove."""

from __future__ import annotations

import argparse

from dregutil.cli.options.command import Command
from dregutil.cli.options.common import (
    add_approve,
    add_consent,
    add_extent,
    add_plan_out,
    add_policy_file,
    add_repositories,
    add_rules,
    add_storage,
    nonempty,
)
from dregutil.cli.options.look import add_tag_query

__all__ = ["COMMANDS", "TITLE"]


def _add_remove_tags(parser: argparse.ArgumentParser) -> None:
    add_tag_query(parser, listed=True)
    _add_removal(parser)


def _add_remove_repos(parser: argparse.ArgumentParser) -> None:
    add_repositories(parser)
    add_rules(parser)
    _add_removal(parser)


def _add_remove_digests(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--repo", "-r", action="append", required=True, metavar="REPO", help="the repository, one")
    add("digest", nargs="+", metavar="DIGEST", help="digests of manifests, or unique beginnings of them")
    add("--with-tags", action="store_true", help="remove their tags too; otherwise a digest that has tags stays")
    add_extent(_add_plan(parser))


def _add_plan(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    removal = parser.add_argument_group("Removal")
    add = removal.add_argument
    add("--dry-run", action="store_true", help="show what would be removed; remove nothing")
    add_plan_out(removal)
    add_consent(removal)
    return removal


def _add_removal(parser: argparse.ArgumentParser) -> None:
    removal = _add_plan(parser)
    add = removal.add_argument
    add(
        "--confirm",
        choices=("auto", "always"),
        help="'always': in a script, remove nothing without --yes (default: auto) [DREGUTIL_CONFIRM]",
    )
    add_approve(removal)
    add("--untag", action="store_true", help="remove the selected tags alone and keep every digest")
    add_extent(removal)


def _add_cleanup(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add_policy_file(parser)
    add("--dry-run", action="store_true", help="show what would be removed; remove nothing")
    add("--details", action="store_true", help="one row per tag, also for kept ones, and what each rule keeps")
    add_plan_out(parser)
    add_approve(parser)
    add_consent(parser)
    add(
        "--max-time", metavar="AGE", help="start no deletion after this time, such as 3h; the next run removes the rest"
    )
    add("--limit", type=int, metavar="N", help="remove at most N tags, the oldest; the next runs remove the rest")
    add("--free", metavar="SIZE", help="remove no more than the oldest images until this is freed, such as 200GB")
    add_extent(parser)
    _add_after(parser.add_argument_group("After the run"))


def _add_after(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--report", metavar="DIR", help="write cleanup.md, cleanup.html and cleanup.json into a folder")
    add(
        "--team-label",
        type=nonempty,
        metavar="LABEL",
        help="the label of an image that names its team (default: the first part of the repository's name)",
    )
    add("--metrics", metavar="FILE", help="write metrics for the textfile collector of Prometheus' node_exporter")
    add("--notify", metavar="URL", help="send the result to a webhook; its URL is a secret [DREGUTIL_NOTIFY]")
    add(
        "--notify-file", metavar="FILE", help="the file with the webhook's URL, and on a line of its own a bearer token"
    )
    add(
        "--notify-format",
        choices=("generic", "slack", "teams"),
        help="the form of the message (default: by the URL's host)",
    )


def _add_apply(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("plan", nargs="?", type=nonempty, metavar="FILE", help="a plan that --plan-out wrote")
    parser.add_argument("--expect", metavar="SHA256", help="the SHA-256 of the reviewed plan")
    parser.add_argument("--resume", type=nonempty, metavar="RUN", help="resume an interrupted run")
    parser.add_argument("--dry-run", action="store_true", help="check each step again and show it; remove nothing")
    add_consent(parser)
    parser.add_argument("--strict", action="store_true", help="exit 3 if a step was left")
    add_storage(parser)


def _add_plan_command(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("action", choices=("show", "diff"), help="show: one plan; diff: what changed from the first to the second")
    add("file", nargs="+", type=nonempty, metavar="FILE", help="a plan that --plan-out wrote")
    add("--details", action="store_true", help="every row, not only the first 50")


TITLE = "clean"
COMMANDS = (
    Command(
        "remove-tags",
        "Remove the digests of the selected tags.",
        "remove:remove_tags",
        _add_remove_tags,
        changes=True,
        about=(
            "Remove the digests of the selected tags. A digest goes only if every tag on it is selected. On a "
            "terminal, the plan is shown and confirmed first. `dregutil undo` puts back what was removed."
        ),
        examples=(
            ("remove-tags -r shop/web -t '<1.4' --dry-run", "show what would be removed"),
            ("remove-tags --images images.txt --dry-run", "images of several repositories, as a file lists them"),
            ("remove-tags -r shop/web -t 1.0 1.1 -y", "remove two tags without being asked"),
        ),
    ),
    Command(
        "remove-digests",
        "Remove manifests of a repository by digest.",
        "remove:remove_digests",
        _add_remove_digests,
        changes=True,
        about=(
            "Remove manifests of one repository by their digests. One that has tags stays, unless --with-tags is "
            "given, and so does a child of an index that stays. Other repositories keep theirs. `dregutil undo` puts "
            "back what was removed."
        ),
        examples=(
            ("remove-digests -r shop/web 04853db01211 --dry-run", "show what would be removed, or why it stays"),
            ("remove-digests -r shop/web 04853db01211 --with-tags -y", "remove it with its tags, without being asked"),
        ),
    ),
    Command(
        "remove-repos",
        "Remove repositories.",
        "remove:remove_repos",
        _add_remove_repos,
        changes=True,
        about=(
            "Remove every digest that tags of these repositories name. On a terminal, the plan is shown and "
            "confirmed first. `dregutil undo` puts back what was removed."
        ),
        examples=(
            ("remove-repos -r shop/web --dry-run", "show what would be removed"),
            ("remove-repos -r payments/api --plan-out plan.jsonl", "write the plan, for `dregutil apply`"),
        ),
    ),
    Command(
        "cleanup",
        "Remove what a policy does not keep.",
        "cleanup:cleanup",
        _add_cleanup,
        changes=True,
        examples=(
            ("cleanup -f policy.yml --dry-run --details", "show the verdict on each tag"),
            ("cleanup -f policy.yml -y --max-time 3h", "every night, without being asked"),
            ("cleanup -f policy.yml -y --report report", "with a report as Markdown, HTML and JSON"),
        ),
    ),
    Command(
        "plan",
        "Show a saved plan, or what differs between two.",
        "plan:plan_command",
        _add_plan_command,
        registry=False,
        examples=(
            ("plan show plan.jsonl --details", "every row of a plan that --plan-out wrote"),
            ("plan diff monday.jsonl tuesday.jsonl", "what is new to go, the largest first"),
        ),
    ),
    # Without a registry, `apply` itself ends: its message names the registry of the plan.
    Command(
        "apply",
        "Carry out a saved plan, or resume a run.",
        "apply:apply",
        _add_apply,
        changes=True,
        registry=False,
        about="Carry out a saved plan, or resume an interrupted run. Each step is checked again before it is sent.",
        examples=(
            ("apply plan.jsonl --dry-run", "check what of the plan still holds"),
            ("apply plan.jsonl -y", "carry out a plan that --plan-out wrote"),
            ("apply --resume 20260301T020000Z-1a2b3 -y", "continue an interrupted run"),
        ),
    ),
)
