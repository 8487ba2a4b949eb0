"""The text of an export → the text of a policy file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from textwrap import indent, wrap
from typing import Any

import yaml

from dregutil.errors import UsageError
from dregutil.retention.policyfile import PolicyError, read_policy
from dregutil.retention.translate.acr import acr
from dregutil.retention.translate.ecr import ecr
from dregutil.retention.translate.gitlab import gitlab
from dregutil.retention.translate.harbor import harbor
from dregutil.retention.translate.rules import Rule, Rules
from dregutil.retention.translate.zot import zot

__all__ = ["SERVICES", "Translation", "translate"]

_WIDTH = 74  # of comments

SERVICES: Mapping[str, Callable[[Any], Rules]] = {
    "harbor": harbor,
    "ecr": ecr,
    "gitlab": gitlab,
    "acr": acr,
    "zot": zot,
}


@dataclass(frozen=True, slots=True)
class Translation:
    """A policy file with comments, and what it cannot say."""

    text: str
    lost: tuple[str, ...]


def translate(service: str, text: str) -> Translation:
    """The rules of a service in `SERVICES`, as its API exports them (JSON or YAML), as a policy file.

    Raises UsageError if there are no rules in the text.
    """
    try:
        rules = SERVICES[service](yaml.safe_load(text) if service != "acr" or "steps:" in text or "{" in text else text)
    except (yaml.YAMLError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise UsageError(f"these are no rules of {service}: {str(error).partition(chr(10))[0][:200]}") from error
    policies = [_named(f"{service}-{number}", rule) for number, rule in enumerate(rules.policies, 1)]
    written = []
    for policy, rule in zip(policies, rules.policies, strict=True):
        try:
            read_policy(_file(policy, rules))
            written.append((policy, rule))
        except PolicyError as error:
            rules.lost.append(f"{rule.comments[0]}, left out: {error.mistakes[0].text}")
    if not written:
        what = "; ".join(rules.lost) or "JSON or YAML as its API exports it is expected"
        raise UsageError(f"there are no rules of {service} to translate: {what}")
    lines = [_comment(f"Translated from the rules of {service}; `policy check --against` shows what it selects.")]
    lines += map(_comment, rules.lost)
    lines.append("version: 1\n")
    lines += [_section({"protect": rules.protect})] if rules.protect else []
    lines.append("policies:\n")
    for policy, rule in written:
        lines += [indent(_comment(comment), "  ") for comment in rule.comments]
        lines.append(indent(_section([policy]), "  "))
    return Translation("".join(lines), tuple(rules.lost))


def _named(name: str, rule: Rule) -> Mapping[str, Any]:
    return {"name": name, **rule.keys}


def _file(policy: Mapping[str, Any], rules: Rules) -> str:
    return _section({"version": 1, "protect": rules.protect, "policies": [policy]})


def _section(value: Any) -> str:
    found: str = yaml.safe_dump(value, sort_keys=False, default_flow_style=None, width=1000, allow_unicode=True)
    return found


def _comment(text: str) -> str:
    """A comment, in lines that fit a terminal."""
    plain = "".join(sign if sign.isprintable() else " " for sign in text)
    lines = wrap(plain, _WIDTH, break_long_words=False, break_on_hyphens=False)
    return "".join(f"# {line}\n" for line in lines)
