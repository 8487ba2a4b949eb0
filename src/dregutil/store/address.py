"""The address of a store: which database, without its password.

A password is never part of an address that is shown, logged or passed to another process: it is read from the
environment or a file, once, just before a connection is made.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

from dregutil.errors import UsageError
from dregutil.files import absolute, read_text

__all__ = ["StoreAddress", "without_password"]

_POSTGRESQL = ("postgresql", "postgres")
_LONGEST_PASSWORD = 64 * 1024
_FORM = "name it as postgresql://USER@HOST/DATABASE"
_SECRET = "sslpassword"  # noqa: S105 - a name of libpq's parameters


@dataclass(frozen=True, slots=True)
class StoreAddress:
    """Where a store is. `url` has no password; `password` is not shown by `repr`."""

    url: str
    _password: str = ""

    def __repr__(self) -> str:
        return f"StoreAddress({self.url!r})"

    def __str__(self) -> str:
        return self.url

    @classmethod
    def parse(cls, text: str, *, may_have_password: bool = True) -> StoreAddress:
        """`postgresql://user@host/database` or `sqlite:///path`. Raises UsageError, whose message has no password.

        `may_have_password`: False for an address from the command line, which all users of the machine can read.
        """
        try:
            parts = urlsplit(text.strip())
            password = unquote(parts.password or "")
            for host in parts.netloc.rpartition("@")[2].split(","):  # libpq tries one after the other
                _ = urlsplit(f"//{host}").port
        except ValueError:  # it quotes what may be a part of a password
            raise UsageError("the store's address is not a URL", advice=_FORM) from None
        if parts.scheme != "sqlite" and (parts.fragment or "@" in parts.path or "@" in parts.query):
            raise UsageError(
                "the store's address is not a URL: it has an @ or a # where none belongs",
                advice="in a user's name or a password, write @ as %40, # as %23, / as %2F and ? as %3F",
            )
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        password = options.pop("password", "") or password
        if _SECRET in options:
            raise UsageError(f"the store's address must not have {_SECRET}", advice="use a key without a password")
        if password and not may_have_password:
            raise UsageError(
                "a password in --store is visible to every user of this machine",
                advice="put it into DREGUTIL_STORE_PASSWORD_FILE, PGPASSFILE or the variable DREGUTIL_STORE",
            )
        if parts.scheme == "sqlite":
            if parts.netloc or not parts.path.strip("/") or parts.query:
                raise UsageError(f"{_shown(parts)} names no file", advice="name it as sqlite:///FOLDER/FILE")
            return cls(f"sqlite://{absolute(Path(unquote(parts.path)))}")
        if parts.scheme not in _POSTGRESQL:
            raise UsageError(
                f"a store is not reached by {parts.scheme or 'a path'!r}", advice=f"{_FORM}, or sqlite:///FILE"
            )
        if not parts.path.strip("/"):
            raise UsageError(f"{_shown(parts)} names no database", advice=_FORM)
        query = f"?{urlencode(options)}" if options else ""
        return cls(f"postgresql://{_host_of(parts)}{parts.path}{query}", password)

    @property
    def is_postgresql(self) -> bool:
        return self.url.startswith("postgresql:")

    @property
    def path(self) -> Path:
        """The file of a SQLite store."""
        return Path(self.url.removeprefix("sqlite://"))

    def password(self, env: Mapping[str, str] = os.environ) -> str | None:
        """The password; None if libpq is to look for it itself (PGPASSWORD, PGPASSFILE). Raises UsageError."""
        named = env.get("DREGUTIL_STORE_PASSWORD_FILE")
        if not named:
            return self._password or None
        try:
            return read_text(Path(named), _LONGEST_PASSWORD).rstrip("\n")
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) and error.strerror else error
            raise UsageError(
                f"DREGUTIL_STORE_PASSWORD_FILE {named} cannot be read: {why}",
                advice="name a file with the password alone, which this user may read",
            ) from error


def without_password(text: str) -> str:
    """An address as it may be shown; one that cannot be parsed is not shown at all."""
    try:
        return StoreAddress.parse(text).url
    except UsageError:
        return "***"


def _host_of(parts: SplitResult) -> str:
    """User, host and port, without the password."""
    host = parts.netloc.rpartition("@")[2]
    user = parts.username
    return f"{quote(unquote(user), safe='')}@{host}" if user else host


def _shown(parts: SplitResult) -> str:
    return urlunsplit(parts._replace(netloc=_host_of(parts), query="", fragment=""))
