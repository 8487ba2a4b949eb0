"""Commands that show what is in a registry."""

from __future__ import annotations

import argparse

from dregutil.cli.options.command import Command
from dregutil.cli.options.common import (
    add_policy_file,
    add_repositories,
    add_rules,
    add_search,
    add_selectors,
    add_storage,
    nonempty,
)
from dregutil.errors import UsageError

__all__ = ["COMMANDS", "TITLE", "add_tag_query"]

_SORT = "age: oldest first; size: largest first; default: version, within each repository"
_COLUMNS = (
    "such as repository,tag,created; '+pushed,labels' adds to the usual ones; also image, type, pulled (see "
    "`pulls`), freed (what removing the tag alone would free)"
)


def _add_list_tags(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("repo", nargs="*", metavar="REPO", help="repositories, or globs of them (default: all)")
    add("--reverse-sort", action="store_true", help="newest version first")
    add("--image-names", action="store_true", help="registry/repository:tag, as docker pull takes it")
    add_selectors(parser)
    add_search(parser)


def _add_ls(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("repo", nargs="*", metavar="REPO", help="repositories, or globs of them (default: all)")
    add("--sort", choices=("name", "version", "age", "size"), default="version", help=_SORT)
    add("--reverse", action="store_true", help="the other way round")
    add("--top", type=int, metavar="N", help="the first N tags only")
    add("--columns", type=_columns, metavar="NAMES", help=_COLUMNS)
    add("--no-read", action="store_true", help="show '-' for contents that were never read, instead of reading them")
    add_selectors(parser)
    add_search(parser)
    add_storage(parser)


def _columns(text: str) -> tuple[str, ...]:
    from dregutil.report.listing import COLUMNS, DEFAULT

    names = tuple(name.strip().lower() for name in text.removeprefix("+").split(",") if name.strip())
    wrong = [name for name in names if name not in COLUMNS]
    if wrong or not names:
        raise argparse.ArgumentTypeError(f"no column is called {(wrong or [text])[0]!r}: {', '.join(COLUMNS)}")
    return tuple(dict.fromkeys((*DEFAULT, *names) if text.startswith("+") else names))


def _add_query_repos(parser: argparse.ArgumentParser) -> None:
    add_repositories(parser)
    add_rules(parser)


def add_tag_query(parser: argparse.ArgumentParser, *, listed: bool = False) -> None:
    """Which tags a query or a removal of tags selects. `listed`: a file may list them instead."""
    selection = parser.add_argument_group("Selection")
    add_repositories(selection, "repositories, or globs of them such as 'team/*'", required=not listed)
    if listed:
        text = "instead: a file that names the images, one repository:tag per line; '-' is standard input"
        selection.add_argument("--images", type=nonempty, metavar="FILE", help=text)
    add_selectors(selection)
    add_search(parser)
    add_rules(parser, tags=True)


def _add_find(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "what",
        metavar="DIGEST|IMAGE",
        help="a digest (also of a layer or config), a unique prefix of one, or repository:tag",
    )


def _add_inspect(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("image", metavar="IMAGE", help="repository:tag (default: latest) or repository@digest")
    raw = parser.add_mutually_exclusive_group()
    raw.add_argument("--raw", action="store_true", help="print the manifest, byte for byte and nothing else")
    raw.add_argument("--raw-config", action="store_true", help="print the config of an image, byte for byte")


def _usage_by(text: str) -> str:
    from dregutil.select.usage_by import check_usage_by

    try:
        return check_usage_by(text)
    except UsageError as error:
        raise argparse.ArgumentTypeError(error.message) from error


def _add_usage(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("repo", nargs="*", metavar="REPO", help="repositories, or globs of them (default: all)")
    add(
        "--by",
        type=_usage_by,
        default="repo",
        metavar="WHAT",
        help="a line for each repo, tag, layer, namespace, or value of a label: label=team (default: repo)",
    )
    add("--sort", choices=("unique", "size", "shared", "tags", "name"), help="default: unique; with --by layer, size")
    add("--top", type=int, metavar="N", help="at most N lines; the others are summed up")
    add_storage(parser)


def _add_report(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--out", "-o", type=nonempty, default="-", metavar="FILE", help="the file; '-' is standard output (default)")
    add("--plan", type=nonempty, metavar="FILE", help="show this plan, as --plan-out wrote it, with its reasons")
    add_policy_file(parser)
    add("--no-plan", action="store_true", help="without the plan of the configured policy")
    add("--since", type=nonempty, metavar="RUN", help="compare with this run (default: the last; sizes of a week ago)")
    add("--check", action="store_true", help="read every tag and index to see what is broken, as doctor does")
    add_storage(parser)
    add(
        "--format",
        choices=("html", "md", "json"),
        default=argparse.SUPPRESS,
        help="md for a chat or a merge request (default: by the name of the file, otherwise html)",
    )


def _add_serve(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--addr", default="127.0.0.1:8090", metavar="HOST:PORT", help="where to listen (default: 127.0.0.1:8090)")
    add_policy_file(parser)
    add(
        "--refresh-every",
        default="1h",
        metavar="AGE",
        help="read the registry again if the tags are older than this (default: 1h); 0: only on request",
    )
    add(
        "--host",
        action="append",
        default=[],
        type=nonempty,
        metavar="NAME",
        help="also answer to this host name, such as that of the proxy; may be repeated",
    )
    proxy = parser.add_argument_group("Behind a proxy", "USER is the name in the proxy's header, or '*' for everyone")
    add = proxy.add_argument
    add("--user-header", type=nonempty, metavar="NAME", help="the header in which the proxy names the user")
    add(
        "--trusted-proxy", action="append", default=[], metavar="CIDR", help="the address of the proxy; may be repeated"
    )
    for role, may in (("viewer", "only look"), ("planner", "also make plans"), ("approver", "do everything")):
        text = f"a user who may {may}; may be repeated"
        add(f"--{role}", action="append", default=[], type=nonempty, metavar="USER", help=text)
    text = "how many people must approve a plan (default: 1); with 2 or more, its maker does not count"
    add("--approvals", type=int, default=1, metavar="N", help=text)


TITLE = "look"
COMMANDS = (
    Command(
        "ls",
        "List tags with age, size, platforms, digest.",
        "ls:ls",
        _add_ls,
        about="List tags with their age, size, platforms and digest.",
        examples=(
            ("ls shop/web --sort age", "the oldest image first"),
            ("ls 'shop/*' -t '<1.4' --sort size --top 20", "the largest of the versions below 1.4"),
        ),
    ),
    Command(
        "list-repo-names",
        "List the repositories that have tags.",
        "listing:list_repo_names",
        examples=(
            ("list-repo-names", "from the cache, which the first command makes"),
            ("list-repo-names --refresh --count", "read again, with the number of repositories"),
        ),
    ),
    Command(
        "list-tag-names",
        "List the tags of all or some repositories.",
        "listing:list_tag_names",
        _add_list_tags,
        examples=(
            ("list-tag-names shop/web --reverse-sort", "the newest version first"),
            ("list-tag-names 'shop/*' --older-than 90d --image-names", "old images, as docker pull takes them"),
        ),
    ),
    Command(
        "query-repos",
        "List the digests of repositories.",
        "query:query_repos",
        _add_query_repos,
        examples=(
            ("query-repos -r shop/web", "the digests that remove-repos would remove"),
            ("query-repos -r shop/web --format json", "with all tags of each digest"),
        ),
    ),
    Command(
        "query-tags",
        "List the digests of the selected tags.",
        "query:query_tags",
        add_tag_query,
        about="List the digests of the selected tags: what remove-tags would remove with the same options.",
        examples=(
            ("query-tags -r shop/web -t '<1.4'", "all versions below 1.4"),
            ("query-tags -r 'shop/*' -re 'rc|dev' -x latest --older-than 90d", "by name and age, in all of shop"),
        ),
    ),
    Command(
        "find",
        "Find what uses a digest, layer, config or image.",
        "find:find",
        _add_find,
        about="Find every tag, index and referrer that uses a digest, layer, config or image.",
        examples=(
            ("find shop/web:1.3", "every place where this image is used"),
            ("find sha256:bc1ea16b66b5", "likewise, by the first digits of a digest"),
        ),
    ),
    Command(
        "inspect",
        "Show an image's platforms, sizes, labels, layers.",
        "inspect:inspect",
        _add_inspect,
        about=(
            "Show the platforms, sizes, labels, layers, attestations and referrers of an image; with --raw, its "
            "manifest as the registry has it."
        ),
        examples=(
            ("inspect shop/web:1.3", "what the image consists of"),
            ("inspect shop/web:1.3 --format json", "the same as JSON"),
            ("inspect --raw shop/web:1.3 | sha256sum", "its digest, from the bytes of the manifest"),
        ),
    ),
    Command(
        "du",
        "Show sizes, and what removing each would free.",
        "du:du",
        _add_usage,
        about="Show the size of repositories, tags or layers, and what removing each alone would free.",
        examples=(
            ("du --top 10", "the ten repositories whose removal would free most"),
            ("du shop/web --by tag --sort size", "the tags of a repository, the largest first"),
        ),
    ),
    Command(
        "report",
        "Write one page: sizes, the last run, a plan.",
        "report:report",
        _add_report,
        own=("--format",),
        about="Write one page about a registry: this week, where the bytes are, a plan with its reasons, and health.",
        examples=(
            ("report -o report.html", "a file that opens in a browser, and loads nothing"),
            ("report -f policy.yml --format md", "what a cleanup would remove, for a chat or a merge request"),
        ),
    ),
    Command(
        "serve",
        "Show all of it in a browser, with plans to approve.",
        "serve:serve",
        _add_serve,
        changes=True,
        about=(
            "Serve web pages about a registry: disk usage, images, plans, runs and health. Approved plans are carried "
            "out by `apply`. It prints the address to open, with a token that works in one browser."
        ),
        examples=(
            ("serve", "on this machine, for the user who started it"),
            ("serve -f policy.yml --refresh-every 15m", "with a policy, and tags that are at most 15 minutes old"),
        ),
    ),
)
