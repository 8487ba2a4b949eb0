"""The API that the user names: which service it is of follows from the settings alone."""

from __future__ import annotations

import pytest

from dregutil.errors import UsageError
from dregutil.oci.api_address import ApiAddress


@pytest.mark.parametrize(
    ("url", "repository", "found"),
    [
        (None, None, None),
        ("", "", None),
        ("https://nexus.example.com", "docker-hosted", ApiAddress("https://nexus.example.com", "docker-hosted")),
        ("http://n.example:8081/nexus/", "d", ApiAddress("http://n.example:8081/nexus", "d")),
        ("https://[::1]:8443", "d.1_x", ApiAddress("https://[::1]:8443", "d.1_x")),
        ("https://github.example.com/api/v3/", None, ApiAddress("https://github.example.com/api/v3")),
    ],
)
def test_what_the_settings_name(url: str | None, repository: str | None, found: ApiAddress | None) -> None:
    assert ApiAddress.parse(url, repository) == found


@pytest.mark.parametrize(
    ("url", "repository", "said"),
    [
        (None, "docker-hosted", "needs its URL"),
        ("https://nexus.example.com", None, "needs the name of a repository of Nexus"),
        ("nexus.example.com", "d", "not the URL of an API"),
        ("ftp://nexus.example.com", "d", "not the URL of an API"),
        ("https://", "d", "not the URL of an API"),
        ("https://nexus.example.com:x", "d", "not the URL of an API"),
        ("https://nexus.example.com/?a=b", "d", "not the URL of an API"),
        ("https://nexus.example.com/a b", "d", "not the URL of an API"),
        ("https://ann:secret@nexus.example.com", "d", "contains credentials"),
        ("https://nexus.example.com", "docker-*", "not the name of a repository"),
        ("https://nexus.example.com", "a/b", "not the name of a repository"),
    ],
)
def test_what_is_refused(url: str | None, repository: str | None, said: str) -> None:
    with pytest.raises(UsageError, match=said) as raised:
        ApiAddress.parse(url, repository)
    assert "secret" not in f"{raised.value} {raised.value.advice}"
