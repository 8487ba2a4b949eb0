"""Whether a registry takes uploads: one is begun, and cancelled at once."""

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


async def uploads_answer(registry: Registry, repository: Repository) -> UploadsAnswer:
    """Begin an upload in `repository`; if it is accepted, cancel it. Raises nothing but programming errors."""
    writable = WritableRegistry.of(registry)
    try:
        status, location = await writable.begin_upload(repository)
    except UnreachableError as error:
        cause = error.__cause__
        if isinstance(cause, OSError) and cause.errno == errno.ECONNREFUSED:
            return UploadsAnswer(Uploads.STOPPED)
        return UploadsAnswer(Uploads.UNKNOWN, error.message)
    except DregutilError as error:
        return UploadsAnswer(Uploads.UNKNOWN, _why(error))
    if status == _READ_ONLY:
        return UploadsAnswer(Uploads.READ_ONLY)
    if location is None:
        return UploadsAnswer(Uploads.UNKNOWN, f"an upload to {repository} was answered with status {status}")
    try:
        await writable.cancel_upload(location, repository)
    except DregutilError as error:
        return UploadsAnswer(Uploads.TAKEN, f"; the upload that was begun could not be cancelled: {error.message}")
    return UploadsAnswer(Uploads.TAKEN)


def _why(error: DregutilError) -> str:
    return f"this login may not push: {error.message}" if isinstance(error, AccessError) else error.message
