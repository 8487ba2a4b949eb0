"""Signatures of AWS (SigV4), with the credentials that AWS's own tools use: botocore, an optional library.

botocore is imported when the first request is signed: that takes 0.3 s. Where the credentials are at another server
(a role, single sign-on), it is asked for them in a thread.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from typing import Any

from dregutil.errors import NoListingError

__all__ = ["Signer"]

_INSTALL = "pip install 'docker-registry-util[aws]'"
_GIVE = "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; docker's password is not enough"


class Signer:
    """Signs requests to one service of AWS. `what` names the API in messages, `hide` takes what must never be shown.

    Without a `region`, it is the one that AWS's own tools use.
    """

    def __init__(self, service: str, region: str, what: str, hide: Callable[[str], object] = str) -> None:
        self._service = service
        self._region = region
        self._what = what
        self._hide = hide
        self._lock = threading.Lock()
        self._credentials: Any = None

    async def signed(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> dict[str, str]:
        """`headers` with those of the signature. Raises NoListingError without botocore, or without credentials."""
        return await asyncio.to_thread(self._signed, method, url, headers, body)

    def _signed(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> dict[str, str]:
        with self._lock:  # the requests that come first wait for one search
            frozen = self._frozen()
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest

        request = AWSRequest(method, url, dict(headers), body)
        SigV4Auth(frozen, self._service, self._region).add_auth(request)
        return dict(request.headers.items())

    def _frozen(self) -> Any:
        """The current credentials, which botocore renews when they are about to expire."""
        try:
            import botocore.session
            from botocore.exceptions import BotoCoreError, ClientError
        except ImportError as error:
            raise NoListingError(f"{self._what} needs botocore ({_INSTALL})", is_everywhere=True) from error
        try:
            if self._credentials is None:
                session = botocore.session.get_session()
                self._region = self._region or str(session.get_config_variable("region") or "")
                self._credentials = session.get_credentials()
            if self._credentials is None:
                raise NoListingError(f"{self._what} needs credentials of AWS ({_GIVE})", is_everywhere=True)
            frozen = self._credentials.get_frozen_credentials()
        except (BotoCoreError, ClientError) as error:  # the latter where a role is refused
            message = f"{self._what}: the credentials of AWS cannot be used: {error}"
            raise NoListingError(message, is_everywhere=True) from error
        if not self._region:
            raise NoListingError(f"{self._what}: the region is not known (set AWS_DEFAULT_REGION)", is_everywhere=True)
        for secret in (frozen.secret_key, frozen.token):
            if secret:
                self._hide(secret)
        return frozen
