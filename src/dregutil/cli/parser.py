"""The grammar of the command line: the complete grammar of the older tool, and the newer commands and options.

Global options are accepted before the command and after it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from dregutil import __version__
from dregutil.cli.grammar import OLDER, Parser
from dregutil.cli.log import LOG_FORMATS

__all__ = ["COMMANDS", "WITHOUT_REGISTRY", "build_parser"]

COMMANDS = (
    *OLDER,
    "refresh",
    "find",
    "inspect",
    "du",
    "apply",
    "history",
    "undo",
    "cleanup",
    "why",
    "policy",
    "doctor",
    "completion",
)
WITHOUT_REGISTRY = ("history", "policy", "completion")
SHELLS = {"bash": "dregutil.bash", "zsh": "_dregutil", "fish": "dregutil.fish"}


def build_parser() -> argparse.ArgumentParser:
    """The whole grammar. A parsed command line has `command` and the given options; global options have no default."""
    parser = Parser(
        prog="dregutil",
        description="Search and safe cleanup on any Docker/OCI registry.",
        epilog=(
            "Start with `dregutil -reg HOST doctor`. Results go to standard output, everything else to standard error."
        ),
    )
    parser.add_argument("--version", action="version", version=f"dregutil {__version__}")
    _add_global_options(parser)
    commands = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND", parser_class=Parser)

    def command(name: str, text: str) -> argparse.ArgumentParser:
        made: Parser = commands.add_parser(name, help=text, description=text)
        made.older = OLDER.get(name, ())
        _add_global_options(made.add_argument_group("global options, here or before the command"))
        return made

    _add_older_commands(command)
    _add_newer_commands(command)
    return parser


def _add_older_commands(command: Callable[[str, str], argparse.ArgumentParser]) -> None:
    command("list-repo-names", "List the repositories that have tags.")
    tags = command("list-tag-names", "List the tags of all or some repositories.")
    tags.add_argument("repo", nargs="*", metavar="REPO", help="repositories, or globs of them (default: all)")
    tags.add_argument("--reverse-sort", action="store_true", help="newest version first")
    tags.add_argument("--image-names", action="store_true", help="registry/repository:tag, as docker pull takes it")
    _add_search(tags)
    for name, text in (("query-repos", "List the digests of repositories."), ("remove-repos", "Remove repositories.")):
        made = command(name, text)
        _add_repositories(made)
        _add_rules(made)
        if name == "remove-repos":
            _add_removal(made)
    for name, text in (
        ("query-tags", "List the digests of the selected tags."),
        ("remove-tags", "Remove the digests of the selected tags."),
    ):
        made = command(name, text)
        _add_repositories(made, "repositories, or globs of them such as 'team/*'")
        _add_selectors(made)
        _add_search(made)
        _add_rules(made)
        if name == "remove-tags":
            _add_removal(made)


def _add_newer_commands(command: Callable[[str, str], argparse.ArgumentParser]) -> None:
    command("refresh", "Read the registry again and show what changed.").add_argument(
        "repo", nargs="*", metavar="REPO", help="repositories (default: all)"
    )
    command("find", "Find everything that uses a digest, layer, config or image.").add_argument(
        "what",
        metavar="DIGEST|IMAGE",
        help="a digest (also of a layer or config), a unique prefix of one, or repository:tag",
    )
    command("inspect", "Show the platforms, sizes, labels, layers and referrers of an image.").add_argument(
        "image", metavar="IMAGE", help="repository:tag (default: latest) or repository@digest"
    )
    _add_usage(command("du", "Show the size of repositories, tags or layers, and what removing each alone would free."))
    _add_apply(command("apply", "Carry out a saved plan, or resume an interrupted run."))
    _add_history(command("history", "List past runs, or show one."))
    _add_undo(command("undo", "Put back what a run removed."))
    _add_cleanup(command("cleanup", "Remove what a policy does not keep."))
    _add_why(command("why", "Show which rules and references keep or remove a tag."))
    _add_policy(command("policy", "Look for mistakes in a policy file."))
    _add_doctor(command("doctor", "Check whether the registry can be reached, what it allows, and what is broken."))
    command("completion", "Print the completion script for a shell.").add_argument(
        "shell", choices=tuple(SHELLS), help="the shell that will read it"
    )


def _name(text: str) -> str:
    """The name of a file, folder or run. An empty name usually comes from an unset variable, and is refused."""
    if not text:
        raise argparse.ArgumentTypeError("an empty name (is a variable not set?)")
    return text


def _add_global_options(parser: Any) -> None:
    def add(*names: str, **options: Any) -> None:
        parser.add_argument(*names, default=argparse.SUPPRESS, **options)

    add("--registry", "-reg", metavar="HOST", help="the registry: host[:port] or a URL [REGISTRY]")
    add("--user", "-u", help="user name [REGISTRY_USER]; without one, Docker's and podman's logins are used")
    add("--password", "-p", help="password [REGISTRY_PASSWORD]")
    add("--password-stdin", action="store_true", help="read the password from standard input")
    add("--authfile", type=_name, metavar="FILE", help="podman's file of logins, read first [REGISTRY_AUTH_FILE]")
    add("--digest-auth", nargs="?", const="true", metavar="true", help="HTTP Digest [REGISTRY_USE_DIGEST_AUTH]")
    add("--client-cert", "-cert", metavar="FILE", help="client certificate, PEM [REGISTRY_CLIENT_CERT]")
    add("--client-key", "-key", metavar="FILE", help="its key, if not in the same file [REGISTRY_CLIENT_KEY]")
    add("--verify", "-v", metavar="FILE", help="CA bundle [REQUESTS_CA_BUNDLE]; 'None' switches verification off")
    add("--insecure", action="store_true", help="allow plain HTTP and unknown certificates")
    add(
        "--repositories-from",
        type=_name,
        metavar="FILE",
        help="repositories, one per line, for a registry without a catalog; '-' is stdin",
    )
    add("--cache", "-c", metavar="FILE", help="cache file [DOCKER_UTIL_CACHEFILE]; 'None' for none")
    add("--refresh", action="store_true", help="read the registry again before the command")
    add("--use-get-manifest", action="store_true", help="GET instead of HEAD [DOCKER_UTIL_GET_MANIFEST]")
    add("--no-raise-intersecting-repo", dest="raise_repo", action="store_false", help="the default; still accepted")
    add(
        "--raise-intersecting-repo",
        dest="raise_repo",
        action="store_true",
        help="a digest shared with others is an error",
    )
    add("--count", action="store_true", help="show the number of results at the end")
    add("--log-level", "-l", metavar="LEVEL", help="log level on standard error (default: warning)")
    add("--log-format", choices=LOG_FORMATS, help="log format: text, or a JSON object per line (default: text)")
    add("--format", choices=("text", "table", "json", "jsonl", "csv"), help="output format (default: text)")
    add("--concurrency", type=int, metavar="N", help="most requests in flight (default: 32) [DREGUTIL_CONCURRENCY]")
    add("--timeout", type=float, metavar="S", help="seconds without an answer (default: 30)")
    add("--quiet", action="store_true", help="no progress, no notes")
    add("--state-dir", type=_name, metavar="DIR", help="where runs are recorded for undo [DREGUTIL_STATE_DIR]")
    add("--color", choices=("auto", "always", "never"), help="colored output (default: auto) [NO_COLOR]")


def _add_repositories(parser: argparse.ArgumentParser, text: str = "repositories") -> None:
    parser.add_argument("--repo", "-r", nargs="+", action="extend", required=True, metavar="REPO", help=text)


def _add_selectors(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--tags", "-t", nargs="*", action="extend", metavar="TAG", help="tags, or versions such as '<1.4' (quote them)")
    add(
        "--regex",
        "-re",
        nargs="*",
        action="extend",
        metavar="RE",
        help="regular expressions, from the start of the tag",
    )
    add(
        "--exclude",
        "-x",
        nargs="*",
        action="extend",
        metavar="TAG",
        help="tags or versions to leave alone, also tags that may be such a version",
    )
    add(
        "--exclude-regex",
        "-xre",
        nargs="*",
        action="extend",
        metavar="RE",
        help="regular expressions for tags to leave alone",
    )
    add("--full-match", action="store_true", help="regular expressions match the whole tag")
    add("--no-match-all-tags", dest="match_all", action="store_false", help="other tags do not hold a digest back")
    add("--raise-intersecting-tag", dest="raise_tag", action="store_true", help="other tags on a digest are an error")


def _add_search(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("search by content", "read from the registry if not known yet")
    add = group.add_argument
    add(
        "--older-than",
        metavar="AGE",
        help="built longer ago than this: 90d, 2w, 1y, 24h, 30m (minutes); images without a known date never match",
    )
    add("--newer-than", metavar="AGE", help="built more recently than this, in the same form")
    add("--larger-than", metavar="SIZE", help="such as 1GB")
    add(
        "--label", action="append", metavar="KEY[=VALUE]", help="has this label; if given several times, all must match"
    )
    add(
        "--platform",
        action="append",
        metavar="OS/ARCH",
        help="such as linux/arm64; if given several times, one must match",
    )
    add("--media-type", action="append", metavar="TYPE", help="media type of the manifest or artifact; a glob")
    add("--based-on", action="append", metavar="IMAGE", help="the first layers are those of this image")


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
    _add_storage(parser)


def _add_rules(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--ignore-other-repos", action="store_true", help="other repositories do not hold a digest back"
    )


def _add_removal(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--dry-run", action="store_true", help="show what would be removed; remove nothing")
    add("--plan-out", type=_name, metavar="FILE", help="write the plan to a file; remove nothing")
    _add_consent(parser)
    add("--untag", action="store_true", help="remove the selected tags alone and keep every digest")
    _add_extent(parser)


def _add_extent(parser: argparse.ArgumentParser) -> None:
    """Options for what a plan removes besides the selection, and how the freed size is counted."""
    add = parser.add_argument
    add("--keep-children", action="store_true", help="leave the children of a removed index")
    add("--keep-referrers", action="store_true", help="leave signatures and other referrers")
    add("--allow-irreversible", action="store_true", help="also remove what could not be put back")
    add("--strict", action="store_true", help="exit 3 if something was held back")
    _add_storage(parser)
    add("--gc", choices=("default", "untagged"), help="how the registry collects garbage; 'untagged': with -m")


def _add_doctor(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quick", action="store_true", help="check the connection only, not every tag")
    _add_storage(parser)


def _add_storage(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--storage",
        type=_name,
        metavar="PATH",
        help="the registry's own storage, read only: a folder, s3://, gs:// or az://",
    )


def _add_consent(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--yes", "-y", action="store_true", help="do not ask")
    parser.add_argument(
        "--yes-remove", type=int, metavar="N", help="allow a plan that removes most of a repository: exactly N tags"
    )


def _add_apply(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("plan", nargs="?", type=_name, metavar="FILE", help="a plan that --plan-out wrote")
    parser.add_argument("--expect", metavar="SHA256", help="the SHA-256 of the reviewed plan")
    parser.add_argument("--resume", type=_name, metavar="RUN", help="resume an interrupted run")
    _add_consent(parser)
    parser.add_argument("--strict", action="store_true", help="exit 3 if a step was left")
    _add_storage(parser)


def _add_history(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", nargs="?", type=_name, metavar="RUN", help="show this run")
    parser.add_argument("--prune", metavar="AGE", help="forget finished runs older than this, such as 90d")


def _add_undo(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", nargs="?", type=_name, metavar="RUN", help="default: the newest removal not yet undone")
    parser.add_argument("--dry-run", action="store_true", help="show what would be put back")
    parser.add_argument("--yes", "-y", action="store_true", help="do not ask")


def _add_policy_file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--policy", "-f", required=True, type=_name, metavar="FILE", help="the policy file")


def _add_cleanup(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    _add_policy_file(parser)
    add("--dry-run", action="store_true", help="show what would be removed; remove nothing")
    add("--details", action="store_true", help="one row per tag, also for kept ones, and what each rule keeps")
    add("--plan-out", type=_name, metavar="FILE", help="write the plan to a file; remove nothing")
    _add_consent(parser)
    add(
        "--max-time", metavar="AGE", help="start no deletion after this time, such as 3h; the next run removes the rest"
    )
    add("--limit", type=int, metavar="N", help="remove at most N tags, the oldest; the next runs remove the rest")
    _add_extent(parser)


def _add_why(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("image", metavar="IMAGE", help="repository:tag or repository@digest")
    _add_policy_file(parser)
    _add_storage(parser)


def _add_policy(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("check",), help="check: look for mistakes")
    parser.add_argument("file", metavar="FILE", help="the policy file")
    parser.add_argument("--against", metavar="HOST", help="show what its selectors match in this registry")
    _add_storage(parser)
