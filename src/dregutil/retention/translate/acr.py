"""Azure: `acr purge` commands, alone, in a task's YAML, or in the JSON of `az acr task show`."""

from __future__ import annotations

import base64
import re
import shlex
from collections.abc import Iterator
from typing import Any

from dregutil.retention.translate.rules import EVERYTHING, Rules, listed, mapping, whole_duration

__all__ = ["acr"]

_PLAIN = re.compile(r"[a-z0-9._/-]+")


def acr(found: Any) -> Rules:
    rules = Rules()
    for command in _commands(found):
        options = _options(shlex.split(command))
        for text in options.get("filter", []):
            _add(rules, text, options)
    return rules


def _commands(found: Any) -> Iterator[str]:
    if isinstance(found, str):
        for line in re.sub(r"\\\n", " ", found).splitlines():
            if "acr purge" in line:
                yield line[line.index("acr purge") :]
        return
    whole = mapping(found)
    encoded = mapping(whole.get("step")).get("encodedTaskContent")
    if isinstance(encoded, str):
        yield from _commands(base64.b64decode(encoded).decode(errors="replace"))
    for step in listed(whole.get("steps")):
        yield from _commands(str(mapping(step).get("cmd", "")))


def _options(words: list[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    key = ""
    for word in words:
        if word.startswith("--"):
            key, equals, value = word[2:].partition("=")
            found.setdefault(key, []).extend([value] if equals else [])
        elif key:
            found[key].append(word)
    return found


def _add(rules: Rules, text: str, options: dict[str, list[str]]) -> None:
    repository, _, tags = text.strip("'\"").partition(":")
    glob = _glob(repository)
    if not glob:
        rules.lost.append(f"--filter {text}: the repository is a regular expression; left out")
        return
    keep: dict[str, Any] = {}
    lost = []
    ago = (options.get("ago") or ["0d"])[0]
    if within := whole_duration(ago):
        keep["within"] = within
    elif re.search("[1-9]", ago):
        keep, lost = dict(EVERYTHING), [f"--ago {ago}; all its tags are kept"]
    number = (options.get("keep") or [""])[0]
    if number.isdigit() and int(number):
        keep["last"] = int(number)
        if within:
            lost.append(f"acr keeps {number} of those older than --ago; here the newest {number} of all stay")
    select = {} if tags in (".*", "^.*", "") else {"regex": _whole(tags)}
    rules.add(f"--filter {text}", lost, repositories=[glob], select=select, keep=keep or {"none": True})
    if "untagged" in options:
        time = {"within": within} if within else {"none": True}
        rules.add(f"--untagged for {repository}", repositories=[glob], select={"untagged": True}, keep=time)


def _glob(regex: str) -> str:
    """The glob of a regular expression that is a name, or ends in `.*`; empty for any other."""
    bare = regex.removeprefix("^").removesuffix("$")
    start = bare.removesuffix(".*")
    if bare == ".*":
        return "**"
    return f"{start}**" if start != bare and _PLAIN.fullmatch(start) else bare if _PLAIN.fullmatch(bare) else ""


def _whole(regex: str) -> str:
    """A regular expression for the whole tag, of one that is looked for anywhere in it."""
    if "|" in regex:
        return f".*(?:{regex}).*"
    found = regex.removeprefix("^") if regex.startswith("^") else f".*{regex}"
    if found.endswith("$") and not found.endswith("\\$"):
        return found.removesuffix("$")
    return found if found.endswith(".*") else f"{found}.*"
