"""Whether a registry takes uploads.

It is asked to complete an upload that does not exist, which leaves nothing behind: distribution then says it. Only
where this does not show that uploads are taken, one is begun, and cancelled at once.
"""

from __future__ import annotations

import enum
import errno
from dataclasses import dataclass

from dregutil.errors import AccessError, DregutilError, UnreachableError
from dregutil.oci.names import Repository
from dregutil.registry.reader import Registry
from dregutil.registry.writer import WritableRegistry

__all__ = ["Uploads", "UploadsAnswer", "uploads_answer"]

_READ_ONLY = 405
_UNKNOWN_UPLOAD = "BLOB_UPLOAD_UNKNOWN"


class Uploads(enum.Enum):
    """Whether something can be pushed."""

    TAKEN = "taken"
    READ_ONLY = "read-only"
    STOPPED = "stopped"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class UploadsAnswer:
    """`why` says why it is not known, or which upload could not be cancelled."""

    uploads: Uploads
    why: str = ""


async def uploads_answer(registry: Registry, repository: Repository, *, is_there: bool) -> UploadsAnswer:
    """Whether something can be pushed to `repository`. `is_there`: it exists; in one that does not no upload is begun,
    because some servers keep the repository. Raises nothing but programming errors."""
    writable = WritableRegistry.of(registry)
    try:
        status, codes = await writable.complete_no_upload(repository)
        if status == 404 and _UNKNOWN_UPLOAD in codes:
            return UploadsAnswer(Uploads.TAKEN)
        if is_there:
            return await _tried(writable, repository)
    except UnreachableError as error:
        cause = error.__cause__
        if isinstance(cause, OSError) and cause.errno == errno.ECONNREFUSED:
            return UploadsAnswer(Uploads.STOPPED)
        return UploadsAnswer(Uploads.UNKNOWN, error.message)
    except DregutilError as error:
        return UploadsAnswer(Uploads.UNKNOWN, _why(error))
    return _without_upload(status, repository)


async def _tried(writable: WritableRegistry, repository: Repository) -> UploadsAnswer:
    """Begin an upload; if it is accepted, cancel it. Raises DregutilError if it cannot be begun."""
    status, location = await writable.begin_upload(repository)
    if location is None:
        return _without_upload(status, repository)
    try:
        await writable.cancel_upload(location, repository)
    except DregutilError as error:
        return UploadsAnswer(Uploads.TAKEN, f"; the upload that was begun could not be cancelled: {error.message}")
    return UploadsAnswer(Uploads.TAKEN)


def _without_upload(status: int, repository: Repository) -> UploadsAnswer:
    if status == _READ_ONLY:
        return UploadsAnswer(Uploads.READ_ONLY)
    return UploadsAnswer(Uploads.UNKNOWN, f"an upload to {repository} was answered with status {status}")


def _why(error: DregutilError) -> str:
    return f"this login may not push: {error.message}" if isinstance(error, AccessError) else error.message
