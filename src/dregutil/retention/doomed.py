"""Lists of images that are to go, such as a scanner writes → which tags they name. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta

from dregutil.errors import RefusedError, UsageError
from dregutil.oci.names import Digest, RegistryAddress, Repository, Tag
from dregutil.retention.image_name import OwnNames, parse_image_name
from dregutil.retention.policy import DoomedList, PolicySet
from dregutil.select.quantity import age_as_written, duration_as_written

__all__ = ["names_image", "read_doomed", "with_doomed"]


def read_doomed(entry: DoomedList, text: str, age: timedelta, own: OwnNames, address: RegistryAddress) -> DoomedList:
    """`entry` with the images of its list: `repository@digest` or `repository:tag@digest` in each line, and `#` before
    comments. Images of other registries are left out. A list without any images is one.

    Raises RefusedError if the list is too old, or a line is anything else.
    """
    limit = entry.max_age
    if limit is not None and age > limit:
        raise RefusedError(
            f"the list {entry.file} is {age_as_written(age)} old, and max_age is {duration_as_written(limit)}",
            advice="make it again; nothing was removed",
        )
    images = set[tuple[Repository, Tag | None, Digest]]()
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() and not line.lstrip().startswith("#"):
            images.update(_images(f"the list {entry.file}, line {number}", line.strip(), own, address))
    return replace(entry, images=frozenset(images), age=age)


def _images(
    place: str, text: str, own: OwnNames, address: RegistryAddress
) -> Iterator[tuple[Repository, Tag | None, Digest]]:
    try:
        name = parse_image_name(text)
    except (UsageError, ValueError) as error:
        raise RefusedError(f"{place}: {text[:80]!r} is no image", advice="nothing was removed") from error
    if name.repository is None or name.digest is None:
        raise RefusedError(
            f"{place}: {text[:80]!r} has no repository with a digest",
            advice="write repository@sha256:…, or repository:tag@sha256:…: a tag may have moved since it was scanned",
        )
    if name.host and name.host not in own.hosts:
        return
    prefix = f"{address.prefix.strip('/')}/" if name.host and address.prefix.strip("/") else ""
    if name.repository.startswith(prefix):
        yield Repository(name.repository.removeprefix(prefix)), name.tag, name.digest


def names_image(entry: DoomedList, repository: Repository, tag: Tag | None, digest: Digest) -> bool:
    """Whether a list names a digest in a repository, or a tag that is still on it. A list that was not read names
    nothing."""
    images = entry.images or frozenset()
    return (repository, None, digest) in images or (tag is not None and (repository, tag, digest) in images)


def with_doomed(policies: PolicySet, read: Callable[[DoomedList], DoomedList]) -> PolicySet:
    """Policies with the lists of images to remove that `read` returns."""
    if not any(policy.doomed for policy in policies.policies):
        return policies
    made = (replace(policy, doomed=tuple(map(read, policy.doomed))) for policy in policies.policies)
    return replace(policies, policies=tuple(made))
