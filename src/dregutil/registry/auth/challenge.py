"""The challenges in the WWW-Authenticate headers of a 401.

Grammar: RFC 9110 §11.6.1. A header may contain several challenges, and an answer several headers; a comma separates
challenges as well as their parameters, and may appear within quotes. A malformed header never raises: it yields the
challenges that can be recognised, possibly none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

__all__ = ["Challenge", "parse_challenges"]

_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"  # noqa: S105 - a pattern, no secret
# Values without quotes are tokens by the grammar; real servers write bare URLs there too.
_PARAMETER = re.compile(rf'({_TOKEN})[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)(?:"|\\?\Z)|([^\s,"]+))', re.DOTALL)
_SCHEME = re.compile(_TOKEN)
_TOKEN68 = re.compile(r"[ \t]+([A-Za-z0-9\-._~+/]+=*)[ \t]*(?=,|\Z)")
_QUOTED_PAIR = re.compile(r"\\(.)", re.DOTALL)
_SEPARATORS = re.compile(r"[\s,]+")

# Far beyond what servers send; the rest is ignored.
_LONGEST_HEADER = 16 * 1024
_MOST_CHALLENGES = 32


@dataclass(frozen=True, slots=True)
class Challenge:
    """One challenge. `scheme` and the names of parameters are in lower case; the first of repeated parameters counts.

    Only `scope` may be repeated: its values are joined by a space.
    """

    scheme: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    token68: str = ""

    def get(self, name: str, default: str = "") -> str:
        """A parameter's value, unquoted."""
        return self.parameters.get(name, default)

    @property
    def scopes(self) -> tuple[str, ...]:
        """The scopes of a Bearer challenge, without repetitions, in the server's order."""
        return tuple(dict.fromkeys(self.get("scope").split()))


def parse_challenges(headers: Iterable[str]) -> list[Challenge]:
    """All challenges in an answer's WWW-Authenticate headers, in their order. Never raises."""
    challenges: list[Challenge] = []
    for header in headers:
        challenges.extend(_parse_header(header[:_LONGEST_HEADER]))
    return challenges[:_MOST_CHALLENGES]


def _parse_header(text: str) -> list[Challenge]:
    challenges: list[Challenge] = []
    parameters: dict[str, str] | None = None
    position = 0
    while position < len(text):
        if separators := _SEPARATORS.match(text, position):
            position = separators.end()
        elif found := _PARAMETER.match(text, position):
            position = found.end()
            if parameters is not None:
                _add_parameter(parameters, found)
        elif found := _SCHEME.match(text, position):
            position = found.end()
            token68 = _TOKEN68.match(text, position)
            # In `Negotiate Basic` a comma is missing: a token68 that is a known scheme is another challenge.
            if token68 is not None and not _is_scheme_name(token68[1]):
                position = token68.end()
            else:
                token68 = None
            parameters = {}
            challenges.append(Challenge(found[0].lower(), parameters, token68[1] if token68 else ""))
        else:
            position += 1
    return challenges


def _add_parameter(parameters: dict[str, str], found: re.Match[str]) -> None:
    name = found[1].lower()
    value = found[3] if found[2] is None else _QUOTED_PAIR.sub(r"\1", found[2])
    if name not in parameters:
        parameters[name] = value
    elif name == "scope":
        parameters[name] = f"{parameters[name]} {value}"


def _is_scheme_name(text: str) -> bool:
    return text.lower() in {"basic", "bearer", "digest"}
