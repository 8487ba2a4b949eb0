"""Commands that record and show when images were last pulled."""

from __future__ import annotations

import argparse

from dregutil.cli.options.command import Command
from dregutil.cli.options.common import nonempty

__all__ = ["COMMANDS", "TITLE"]

_IGNORE = "an agent whose pulls do not count; may be repeated. Instead of: trivy, grype, clair, renovate, diun"


_WORDS = (
    "repositories, globs of them, or repository:tag (default: all); or `read` and files of access logs, plain or .gz, "
    "'-' for standard input; or `sync`, to record what the registry's service knows"
)
_LINE_FORMAT = (
    "for logs in another format: a regular expression with the groups (?P<time>...), method, path, status, agent"
)


def _add_pulls(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("images", nargs="*", type=nonempty, metavar="IMAGE", help=_WORDS)
    add("--line-format", type=nonempty, metavar="REGEX", help=_LINE_FORMAT)
    add("--ignore-agent", action="append", type=nonempty, metavar="NAME", help=_IGNORE)


def _add_listen(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--addr", default="127.0.0.1:5099", metavar="HOST:PORT", help="where to listen (default: 127.0.0.1:5099)")
    add("--token-file", metavar="FILE", help="a file with the token that the registry must send")
    add("--ignore-agent", action="append", type=nonempty, metavar="NAME", help=_IGNORE)


TITLE = "pulls"
COMMANDS = (
    Command(
        "pulls",
        "Show when images were last pulled.",
        "pulls:pulls",
        _add_pulls,
        about=(
            "Show when images were last pulled, and by what, as far as it was recorded; or record it from access logs "
            "of the registry or a proxy. These formats are known: distribution, nginx, Apache, Traefik, Envoy, and the "
            "load balancers of AWS and Google."
        ),
        examples=(
            ("pulls shop/web", "the last pull of each tag of a repository"),
            ("pulls shop/web:1.3 --format json", "that of one image, as JSON"),
            ("pulls read access.log", "record the pulls in an access log; what was read before is not read again"),
        ),
    ),
    Command(
        "listen",
        "Record pulls from the registry's notifications.",
        "listen:listen",
        _add_listen,
        changes=True,
        about=(
            "Receive the notifications of a registry and record when each image was last pulled, until the command is "
            "ended. It shows what to add to the registry's configuration."
        ),
        examples=(
            ("listen", "for a registry on the same machine"),
            ("listen --addr 127.0.0.1:5099 --token-file token", "only with the token in the file"),
        ),
    ),
)
