"""Commands that show what is in a registry."""

from __future__ import annotations

import argparse

from dregutil.cli.options.command import Command
from dregutil.cli.options.common import add_repositories, add_rules, add_search, add_selectors, add_storage

__all__ = ["COMMANDS", "add_tag_query"]


def _add_list_tags(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("repo", nargs="*", metavar="REPO", help="repositories, or globs of them (default: all)")
    add("--reverse-sort", action="store_true", help="newest version first")
    add("--image-names", action="store_true", help="registry/repository:tag, as docker pull takes it")
    add_search(parser)


def _add_query_repos(parser: argparse.ArgumentParser) -> None:
    add_repositories(parser)
    add_rules(parser)


def add_tag_query(parser: argparse.ArgumentParser) -> None:
    """Which tags a query or a removal of tags selects."""
    add_repositories(parser, "repositories, or globs of them such as 'team/*'")
    add_selectors(parser)
    add_search(parser)
    add_rules(parser)


def _add_find(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "what",
        metavar="DIGEST|IMAGE",
        help="a digest (also of a layer or config), a unique prefix of one, or repository:tag",
    )


def _add_inspect(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("image", metavar="IMAGE", help="repository:tag (default: latest) or repository@digest")


def _add_usage(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("repo", nargs="*", metavar="REPO", help="repositories, or globs of them (default: all)")
    add(
        "--by",
        choices=("repo", "tag", "layer"),
        default="repo",
        help="one line per repository, tag or layer (default: repo)",
    )
    add("--sort", choices=("unique", "size", "shared", "tags", "name"), help="default: unique; with --by layer, size")
    add("--top", type=int, metavar="N", help="at most N lines; the others are summed up")
    add_storage(parser)


COMMANDS = (
    Command("list-repo-names", "List the repositories that have tags.", "listing:list_repo_names"),
    Command("list-tag-names", "List the tags of all or some repositories.", "listing:list_tag_names", _add_list_tags),
    Command("query-repos", "List the digests of repositories.", "query:query_repos", _add_query_repos),
    Command("query-tags", "List the digests of the selected tags.", "query:query_tags", add_tag_query),
    Command("find", "Find everything that uses a digest, layer, config or image.", "find:find", _add_find),
    Command(
        "inspect",
        "Show the platforms, sizes, labels, layers and referrers of an image.",
        "inspect:inspect",
        _add_inspect,
    ),
    Command(
        "du",
        "Show the size of repositories, tags or layers, and what removing each alone would free.",
        "du:du",
        _add_usage,
    ),
)
