"""The address of a service's API that the user names: Sonatype Nexus, GitHub Enterprise Server. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

from dregutil.errors import UsageError

__all__ = ["ApiAddress"]

_GITHUB = "/api/v3"  # docs.github.com/enterprise-server/rest
_REPOSITORY = re.compile(r"[A-Za-z0-9-][A-Za-z0-9_.-]{0,199}")
_URL = "give a URL such as https://nexus.example.com or https://github.example.com/api/v3"


@dataclass(frozen=True, slots=True)
class ApiAddress:
    """`base` is the URL of the API, without a slash at its end. `repository` is the name of the repository of Nexus
    that holds the registry's images; empty for GitHub Enterprise Server."""

    base: str
    repository: str = ""

    @classmethod
    def parse(cls, url: str | None, repository: str | None) -> Self | None:
        """What the settings `api` and `api_repository` name; None if both are missing. Raises UsageError.

        Which service it is follows from these settings alone, never from an answer.
        """
        if not url:
            if repository:
                raise UsageError(f"the repository {repository} of an API needs its URL", advice="give it with --api")
            return None
        base = _checked(url)
        if repository and not _REPOSITORY.fullmatch(repository):
            raise UsageError(f"not the name of a repository of Nexus: {repository[:150]!r}")
        if not repository and not base.endswith(_GITHUB):
            raise UsageError(
                f"the API {base} needs the name of a repository of Nexus",
                advice=f"give it with --api-repository; the API of GitHub Enterprise Server ends in {_GITHUB}",
            )
        return cls(base, repository or "")


def _checked(url: str) -> str:
    """The URL, without a slash at its end. Raises UsageError for what is no plain URL."""
    try:
        parts = urlsplit(url)
        is_plain = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_plain = False
    if not is_plain or parts.query or parts.fragment or re.search(r"[\s\\%]", url):
        raise UsageError(f"not the URL of an API: {url.rpartition('@')[2][:150]!r}", advice=_URL)
    if parts.username is not None or parts.password is not None:
        raise UsageError("the URL of the API contains credentials", advice="the login of the registry is used there")
    return url.rstrip("/")
