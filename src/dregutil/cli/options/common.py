"""The global options, and options that several commands share."""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from dregutil.cli.log import LOG_FORMATS

__all__ = [
    "GLOBAL_GROUPS",
    "MOST_USED",
    "Options",
    "add_approve",
    "add_consent",
    "add_extent",
    "add_global_options",
    "add_plan_out",
    "add_policy_file",
    "add_repositories",
    "add_rules",
    "add_search",
    "add_selectors",
    "add_storage",
    "nonempty",
]


# The global options in `dregutil --help`, in short.
MOST_USED = {
    "-reg HOST": "the registry: host[:port] or a URL [REGISTRY]",
    "-u USER": "user name; without, docker's and podman's logins",
    "--format FORMAT": "text, table, json, jsonl or csv",
}


class Options(Protocol):
    """A parser, or a group of its options."""

    def add_argument(self, *names: Any, **options: Any) -> Any: ...


def nonempty(text: str) -> str:
    """The name of a file, folder or run. An empty name usually comes from an unset variable, and is refused."""
    if not text:
        raise argparse.ArgumentTypeError("an empty name (is a variable not set?)")
    return text


def add_global_options(parser: argparse.ArgumentParser, own: Sequence[str] = ()) -> None:
    """The options that every command has, and the program before it, in the groups of `dregutil help options`; without
    those that a command defines as its `own`."""
    for title, fill in GLOBAL_GROUPS.items():
        group = parser.add_argument_group(title)
        fill(functools.partial(_add_global, group, own))


def _add_global(group: Options, own: Sequence[str], *names: str, **options: Any) -> None:
    if names[0] not in own:
        group.add_argument(*names, default=argparse.SUPPRESS, **options)


def _add_connection(add: Callable[..., Any]) -> None:
    add("--registry", "-reg", metavar="HOST", help="the registry: host[:port], a URL or a configured name [REGISTRY]")
    add("--config", type=nonempty, metavar="FILE", help="configuration file [DREGUTIL_CONFIG]; 'None' for none")
    add("--insecure", action="store_true", help="allow plain HTTP and unknown certificates")
    add("--verify", "-v", metavar="FILE", help="CA bundle [REQUESTS_CA_BUNDLE]; 'None' switches verification off")
    add("--client-cert", "-cert", metavar="FILE", help="client certificate, PEM [REGISTRY_CLIENT_CERT]")
    add("--client-key", "-key", metavar="FILE", help="its key, if not in the same file [REGISTRY_CLIENT_KEY]")
    add("--concurrency", type=int, metavar="N", help="most requests in flight (default: 32) [DREGUTIL_CONCURRENCY]")
    add("--timeout", type=float, metavar="S", help="seconds without an answer (default: 30)")
    add("--api", metavar="URL", help="the API of Sonatype Nexus or GitHub Enterprise Server; the login is sent there")
    add("--api-repository", metavar="NAME", help="the repository of Nexus that has the images, for --api")
    add("--use-get-manifest", action="store_true", help="GET instead of HEAD [DOCKER_UTIL_GET_MANIFEST]")


def _add_login(add: Callable[..., Any]) -> None:
    add("--user", "-u", help="user name [REGISTRY_USER]; without one, Docker's and podman's logins are used")
    add("--password", "-p", help="password [REGISTRY_PASSWORD]")
    add("--password-stdin", action="store_true", help="read the password from standard input")
    add("--authfile", type=nonempty, metavar="FILE", help="podman's file of logins, read first [REGISTRY_AUTH_FILE]")
    add("--digest-auth", nargs="?", const="true", metavar="true", help="HTTP Digest [REGISTRY_USE_DIGEST_AUTH]")


def _add_reading(add: Callable[..., Any]) -> None:
    add("--refresh", action="store_true", help="read the registry again before the command")
    add("--cache", "-c", metavar="FILE", help="cache file [DOCKER_UTIL_CACHEFILE]; 'None' for none")
    add(
        "--repositories-from",
        type=nonempty,
        metavar="FILE",
        help="repositories, one per line, for a registry without a catalog; '-' is stdin",
    )
    add("--state-dir", type=nonempty, metavar="DIR", help="where runs are recorded for undo [DREGUTIL_STATE_DIR]")
    add("--store", type=nonempty, metavar="URL", help="a shared store, as postgresql://HOST/DATABASE [DREGUTIL_STORE]")
    add(
        "--raise-intersecting-repo",
        dest="raise_repo",
        action="store_true",
        help="a digest shared with others is an error",
    )
    add("--no-raise-intersecting-repo", dest="raise_repo", action="store_false", help="the default; still accepted")


def _add_output(add: Callable[..., Any]) -> None:
    add("--format", choices=("text", "table", "json", "jsonl", "csv"), help="output format (default: text)")
    add("--quiet", action="store_true", help="no progress, no notes")
    add("--count", action="store_true", help="show the number of results at the end")
    add("--color", choices=("auto", "always", "never"), help="colored output (default: auto) [NO_COLOR]")
    add("--log-level", "-l", metavar="LEVEL", help="log level on standard error (default: warning)")
    add("--log-format", choices=LOG_FORMATS, help="log format: text, or a JSON object per line (default: text)")


GLOBAL_GROUPS: dict[str, Callable[[Callable[..., Any]], None]] = {
    "Connection": _add_connection,
    "Login": _add_login,
    "Cache and records": _add_reading,
    "Output": _add_output,
}


def add_repositories(parser: Options, text: str = "repositories", *, required: bool = True) -> None:
    parser.add_argument("--repo", "-r", nargs="+", action="extend", required=required, metavar="REPO", help=text)


def add_selectors(parser: Options) -> None:
    add = parser.add_argument
    add(
        "--tags",
        "-t",
        nargs="*",
        action="extend",
        metavar="TAG",
        help="tags, or versions: '<1.4', '>=1.2 <1.3' (quote them)",
    )
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


def add_search(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("Search by content", "read from the registry if not known yet")
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
        help="such as linux/arm64, or arm64 alone; if given several times, one must match",
    )
    add("--media-type", action="append", metavar="TYPE", help="media type of the manifest or artifact; a glob")
    add("--based-on", action="append", metavar="IMAGE", help="the first layers are those of this image")


def add_rules(parser: argparse.ArgumentParser, *, tags: bool = False) -> None:
    """Whether what is outside the selection holds a digest back. `tags`: also other tags in the same repository."""
    add = parser.add_argument_group("Shared digests").add_argument
    add("--ignore-other-repos", action="store_true", help="other repositories do not hold a digest back")
    if tags:
        add("--no-match-all-tags", dest="match_all", action="store_false", help="other tags do not hold a digest back")
        add(
            "--raise-intersecting-tag",
            dest="raise_tag",
            action="store_true",
            help="other tags on a digest are an error",
        )


def add_consent(parser: Options) -> None:
    parser.add_argument("--yes", "-y", action="store_true", help="do not ask")
    parser.add_argument(
        "--yes-remove", type=int, metavar="N", help="allow a plan that removes most of a repository: exactly N tags"
    )


def add_plan_out(parser: Options) -> None:
    add = parser.add_argument
    add("--plan-out", type=nonempty, metavar="FILE", help="write the plan to a file; remove nothing")
    add(
        "--reasons-out",
        type=nonempty,
        metavar="FILE",
        help="with --plan-out: write what goes and what stays, with the reasons, as JSON",
    )


def add_approve(parser: Options) -> None:
    add = parser.add_argument
    add("--approve", action="store_true", help="put the plan into the shared store, where it waits for approval")
    add("--approvals", type=int, metavar="N", help="with --approve: how many people must approve it (default: 1)")


def add_extent(parser: Options) -> None:
    """Options for what a plan removes besides the selection, and how the freed size is counted."""
    add = parser.add_argument
    add("--keep-children", action="store_true", help="leave the children of a removed index")
    add("--keep-referrers", action="store_true", help="leave signatures and other referrers")
    add("--allow-irreversible", action="store_true", help="also remove what could not be put back")
    add("--strict", action="store_true", help="exit 3 if something was held back")
    add_storage(parser)
    add("--gc", choices=("default", "untagged"), help="how the registry collects garbage; 'untagged': with -m")


def add_storage(parser: Options) -> None:
    parser.add_argument(
        "--storage",
        type=nonempty,
        metavar="PATH",
        help="the registry's own storage, read only: a folder, s3://, gs:// or az://",
    )


def add_policy_file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--policy",
        "-f",
        type=nonempty,
        metavar="FILE",
        help="the policy file, or a folder of them, such as policies.d (default: the configured one)",
    )
