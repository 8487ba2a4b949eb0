"""The hosts of services' own APIs, by the registry's exact name.

This table, and what the user named (`oci/api_address`), decide to which other host a login may be sent. Nothing that a
server answers is ever a part of them.
"""

from __future__ import annotations

import re

from dregutil.oci.names import RegistryAddress

__all__ = ["OTHER_HOSTS", "other_host"]

# The registry's address, and the base of its service's API. A test adds its simulation.
OTHER_HOSTS: list[tuple[re.Pattern[str], str]] = [
    (re.compile(r"docker\.io"), "https://hub.docker.com"),
    (re.compile(r"ghcr\.io"), "https://api.github.com"),
    (
        re.compile(r"\d{12}\.dkr\.ecr(?P<fips>-fips)?\.(?P<region>[a-z0-9-]{4,32})\.amazonaws\.com(?P<china>\.cn)?"),
        r"https://api.ecr\g<fips>.\g<region>.amazonaws.com\g<china>",
    ),
]


def other_host(address: RegistryAddress) -> str | None:
    """The base URL of the API of the registry's service at another host; None if it has none that is known.

    Without TLS at the registry there is none: what answers there may be anything.
    """
    for name, base in OTHER_HOSTS:
        found = name.fullmatch(address.identity)
        if found is not None and (address.scheme != "http" or base.startswith("http:")):
            return found.expand(base) if found.re.groups else base
    return None
