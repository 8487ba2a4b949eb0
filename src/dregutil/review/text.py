"""A plan and its reasons → the comment about it, and what a later job reads from the comment. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from dregutil.pages.markdown import plan_markdown
from dregutil.pages.model import Plan
from dregutil.report.markup import markdown_text
from dregutil.report.units import plural

__all__ = ["Marker", "comment", "mistakes", "read_marker", "with_result"]

_MARKER = re.compile(r"<!-- dregutil-review (\{[^<>\n]*\}) -->")
_LONGEST, _LONGEST_RESULT = 55_000, 9_000  # characters; GitHub takes 65,536, GitLab a million
_RESULT = "\n---\n\n"


class Marker(msgspec.Struct, frozen=True, kw_only=True):
    """The first line of a comment, which nobody sees. `key` says which policy of which registry it is about, `head` the
    commit that was planned, `job` what has the plan. `sum` is that of the plan; empty if there is none to approve.
    `applied` is the commit that carried it out, or an empty text."""

    key: str
    head: str
    job: str
    sum: str = ""
    applied: str = ""

    @property
    def line(self) -> str:
        return f"<!-- dregutil-review {msgspec.json.encode(self).decode()} -->"


def read_marker(body: str) -> Marker | None:
    """The marker of a comment; None if it is none of ours."""
    found = _MARKER.match(body)
    if found is None:
        return None
    try:
        return msgspec.json.decode(found[1], type=Marker)
    except msgspec.MsgspecError:
        return None


def comment(marker: Marker, registry: str, plan: Plan, *, on: str) -> str:
    """The comment that shows a plan. `on`: what approves it, such as a pull request."""
    lines = [marker.line, f"## Cleanup of {markdown_text(registry)}", ""]
    if plan.tags or plan.untagged or plan.signature_tags:
        lines.append(
            f"Merging this {on} approves this plan, and no other. Each step is checked again before it is sent."
        )
    else:
        lines.append(f"With this policy nothing goes now. Merging this {on} removes nothing.")
    if plan.refused:
        lines += ["", f"**{markdown_text(plan.refused)}. Merging approves that, too.**"]
    if plan.most_of:
        named = ", ".join(map(markdown_text, plan.most_of[:10]))
        lines += ["", f"**Most tags of {plural(len(plan.most_of), 'repository')} go: {named}.**"]
    shown = msgspec.structs.replace(plan, command=None, refused=None)
    return _short("\n".join([*lines, "", plan_markdown(shown)]))


def mistakes(marker: Marker, registry: str, said: Sequence[str]) -> str:
    """The comment about a policy from which no plan can be made."""
    lines = [marker.line, f"## Cleanup of {markdown_text(registry)}", "", "**There is no plan to approve.**", ""]
    return _short("\n".join([*lines, *(f"- {markdown_text(line)}" for line in said if line.strip())]) + "\n")


def with_result(body: str, marker: Marker, result: Sequence[str]) -> str:
    """A comment with what came of it below; an earlier result is replaced."""
    _, _, shown = body.partition("\n")
    text = "\n".join(f"{markdown_text(line)}  " for line in result if line.strip())
    if len(text) > _LONGEST_RESULT:
        text = text[:_LONGEST_RESULT].rpartition("\n")[0] + "\nThe rest is left out; the job has all of it."
    return f"{marker.line}\n{shown.partition(_RESULT)[0].rstrip()}\n{_RESULT}{text}\n"


def _short(body: str) -> str:
    if len(body) <= _LONGEST:
        return body
    return body[:_LONGEST].rpartition("\n")[0] + "\n\nThe rest is left out; the job has the whole plan.\n"
