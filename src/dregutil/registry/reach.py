"""Whether the error of one request ends all work on a registry."""

from __future__ import annotations

from dregutil.errors import CertificateError, DregutilError, LoginError, ThrottledError, UnreachableError
from dregutil.registry.reader import Registry

__all__ = ["ends_all"]


async def ends_all(registry: Registry, error: DregutilError) -> bool:
    """Whether an error concerns the whole registry: it accepts the login for nothing, or nothing answers.

    If one blob resets the connection, or is never answered, the cause may be that blob alone: a failed disk, a rule of
    a proxy. If one repository refuses the login, it may be the only one. The registry then still answers a ping.
    """
    if isinstance(error, CertificateError | ThrottledError):
        return True
    if not isinstance(error, UnreachableError | LoginError):
        return False
    try:
        await registry.ping()
    except UnreachableError:
        return True
    except LoginError:
        return isinstance(error, LoginError)
    except DregutilError:
        return False  # an answer, of whatever kind
    return False
