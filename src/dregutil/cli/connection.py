"""Settings → how to connect. Apart from `settings`, since it brings aiohttp."""

from __future__ import annotations

import sys

from dregutil.cli.settings import Settings
from dregutil.registry import ConnectOptions

__all__ = ["connect_options"]


def connect_options(settings: Settings) -> ConnectOptions:
    if settings.verify is False:
        sys.stderr.write("dregutil: warning: certificates are not verified\n")
    return ConnectOptions(
        user=settings.user,
        password=settings.password,
        digest_auth=settings.digest_auth,
        client_cert=settings.client_cert,
        client_key=settings.client_key,
        verify=settings.verify,
        use_get_manifest=settings.use_get_manifest,
        concurrency=settings.concurrency,
        timeout=settings.timeout,
        insecure=settings.insecure,
        credential_source=settings.credential_source,
        authfile=settings.authfile,
    )
