"""Mistyped commands and options → the ones that are meant: by spelling, or as other tools call them."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable

from dregutil.errors import UsageError

__all__ = ["COMMANDS_ELSEWHERE", "OPTIONS_ELSEWHERE", "absent_command", "near_option"]

_MOST = 3

# What docker, crane, skopeo, restic and other tools call it → our commands, the likeliest first.
COMMANDS_ELSEWHERE = {
    "catalog list-repositories repos repositories repo": ("list-repo-names",),
    "tags list tag image images show-tags list-tags": ("ls", "list-tag-names"),
    "digests digest": ("query-tags", "query-repos"),
    "search grep query": ("find", "ls", "query-tags"),
    "where uses used-by which": ("find",),
    "show info manifest config-of layers labels": ("inspect",),
    "size sizes usage disk-usage df stats": ("du",),
    "rm remove delete del rmi purge untag": ("remove-tags", "remove-repos", "remove-digests"),
    "delete-tag delete-tags rm-tag remove-images": ("remove-tags",),
    "delete-repo rm-repo delete-repos": ("remove-repos",),
    "delete-digest delete-manifest remove-manifest": ("remove-digests",),
    "prune gc clean clean-up garbage-collect forget retention expire": ("cleanup",),
    "explain reason": ("why",),
    "validate lint policies": ("policy",),
    "preview diff": ("plan",),
    "resume execute": ("apply",),
    "protect pin lock keep": ("hold",),
    "log logs runs audit": ("history",),
    "restore rollback revert recover undelete put-back": ("undo",),
    "check ping health status test connect": ("doctor",),
    "sync update crawl scan reload": ("refresh",),
    "settings configure configuration login context": ("config", "doctor"),
    "completions complete autocomplete shell": ("completion",),
    "man usage-help commands": ("help",),
}
_NAMED_ELSEWHERE = {word: commands for words, commands in COMMANDS_ELSEWHERE.items() for word in words.split()}

# As above; `--format json` is two words.
OPTIONS_ELSEWHERE = {
    "--server": "--registry",
    "--url": "--registry",
    "--username": "--user",
    "--creds": "--user",
    "--debug": "--log-level debug",
    "--verbose": "--log-level info",
    "--silent": "--quiet",
    "--json": "--format json",
    "--csv": "--format csv",
    "--output": "--format",
    "--no-cache": "--cache None",
    "--tls-verify": "--insecure",
    "--no-verify": "--insecure",
    "--ca-cert": "--verify",
    "--cacert": "--verify",
    "-k": "--insecure",
    "-n": "--dry-run",
    "--simulate": "--dry-run",
    "--force": "--yes",
    "--no-confirm": "--yes",
    "--assume-yes": "--yes",
    "--image": "--repo",
    "--name": "--repo",
    "--match": "--regex",
    "--filter": "--regex",
    "--except": "--exclude",
    "--before": "--older-than",
    "--older": "--older-than",
    "--since": "--newer-than",
    "--after": "--newer-than",
    "--parallel": "--concurrency",
    "--jobs": "--concurrency",
}


def absent_command(name: str, known: Collection[str]) -> UsageError:
    """The error for a command that does not exist: with those that may be meant, of `known`."""
    near = _near(name, known)
    return UsageError(
        f"there is no command {name}" + (f" (did you mean {' or '.join(near)}?)" if near else ""),
        advice="`dregutil help` lists the commands",
    )


def near_option(name: str, known: Iterable[str]) -> str | None:
    """The option that is meant by an unknown one, of `known`; with its value if that is part of the meaning."""
    options = tuple(known)
    meant = OPTIONS_ELSEWHERE.get(name)
    if meant is not None and meant.partition(" ")[0] in options:
        return meant
    near = difflib.get_close_matches(name, options, n=1)
    return near[0] if near else None


def _near(name: str, known: Collection[str]) -> list[str]:
    word = name.lower().replace("_", "-")
    elsewhere = [command for command in _NAMED_ELSEWHERE.get(word, ()) if command in known]
    if elsewhere:
        return elsewhere[:_MOST]
    started = [command for command in known if len(word) > 1 and command.startswith(word)]
    return started[:_MOST] or difflib.get_close_matches(word, known, n=_MOST)
