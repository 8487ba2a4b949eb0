"""Whether what went wrong with one request ends all work on a registry: decided by whether others get through."""

from __future__ import annotations

from dregutil.errors import CertificateError, DregutilError, LoginError, ThrottledError, UnreachableError
from dregutil.registry.reader import Registry

__all__ = ["ends_all"]


async def ends_all(registry: Registry, error: DregutilError) -> bool:
    """Whether an error of one request is one of the whole registry: without a login, or with nothing answered.

    A connection that is reset for one blob, or that never answers, may be the fault of that blob alone: a failed disk
    behind it, a proxy's rule. Then the registry still answers to a ping.
    """
    if isinstance(error, LoginError | CertificateError | ThrottledError):
        return True
    if not isinstance(error, UnreachableError):
        return False
    try:
        await registry.ping()
    except UnreachableError:
        return True
    except DregutilError:
        return False  # an answer, of whatever kind
    return False
