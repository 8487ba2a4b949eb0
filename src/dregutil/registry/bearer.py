"""Bearer tokens: how they are asked for, how long they live, and who shares them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

__all__ = ["TokenFetch", "TokenRequest"]


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """One request to a token server, for the transport to send as it is; redirects are not to be followed."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    form: dict[str, str] | None = field(default=None, repr=False)
    params: list[tuple[str, str]] = field(default_factory=list, repr=False)


# The status and the (bounded) body of the answer.
TokenFetch = Callable[[TokenRequest], Awaitable[tuple[int, bytes]]]
