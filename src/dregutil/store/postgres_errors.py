"""What an error of PostgreSQL, or of a pooler before it, means for a store, and what to do."""

from __future__ import annotations

import re

import psycopg

from dregutil.errors import StoreAccessError, StoreError
from dregutil.store.address import StoreAddress

__all__ = ["store_error"]

# What a server without room says to who connects: such an error has no SQLSTATE. The first three are PostgreSQL's, then
# PgBouncer's.
_NO_ROOM = (
    "too many clients",
    "too many connections",
    "remaining connection slots",
    "no more connections allowed",
    "query_wait_timeout",
)
_LOGIN = (
    "check the user and its password, of the first that is set: DREGUTIL_STORE_PASSWORD_FILE, DREGUTIL_STORE, "
    "PGPASSWORD, PGPASSFILE or ~/.pgpass"
)
_NOT_LET_IN = {  # neither has what it says to who logs in
    "authentication failed for user": _LOGIN,
    "no password supplied": _LOGIN,
    "is not permitted to log in": _LOGIN,
    "no pg_hba.conf entry": "let this user in from this machine: pg_hba.conf of the database's server",
    "permission denied for database": "give the user one of the roles of `dregutil store grants`",
}
_MISSING = re.compile(r'database "([^"]+)" does not exist')
_RESUMES = "then `dregutil apply --resume RUN` continues what was cut off"


def store_error(address: StoreAddress, error: psycopg.Error) -> StoreError:
    """The error of a store for one of psycopg. libpq's messages name host, user and database, and no password."""
    said = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, psycopg.errors.UndefinedTable | psycopg.errors.InvalidSchemaName):
        return StoreError(
            f"the store {address} has no tables yet: {said}", advice="`dregutil store migrate` makes them"
        )
    if isinstance(error, psycopg.errors.ReadOnlySqlTransaction) or "session is read-only" in said:
        return StoreError(
            f"the store {address} can only be read: {said}",
            advice="name the server that takes changes: a standby does not, and neither does a database that is set to"
            f" default_transaction_read_only; {_RESUMES}",
        )
    message = f"the store {address} cannot be used: {said}"
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        return StoreAccessError(message)
    for what, advice in _NOT_LET_IN.items() if error.sqlstate is None else ():
        if what in said:
            return StoreAccessError(message, advice=advice)
    return StoreError(message, advice=_advice(error, said))


def _advice(error: psycopg.Error, said: str) -> str | None:
    if isinstance(error, psycopg.errors.DiskFull):
        return f"make room on the database's disk; {_RESUMES}"
    if any(one in said for one in _NO_ROOM):
        return (
            "let more connections in (max_connections, CONNECTION LIMIT of the role, the pooler's pool),"
            " or run less at a time"
        )
    if "statement pooling mode" in said:
        return "set pool_mode = transaction or session in the pooler: a store needs transactions"
    if "unsupported startup parameter" in said:
        return "leave out of the URL, and of PGOPTIONS, what the pooler does not take"
    if isinstance(error, psycopg.ProgrammingError) and error.sqlstate is None:
        return "name it as postgresql://USER@HOST/DATABASE"
    if missing := _MISSING.search(said):
        return f"correct the address, or make the database: CREATE DATABASE {missing[1]}"
    if isinstance(error, psycopg.OperationalError):
        return "check that the database runs, and its address"
    return None
