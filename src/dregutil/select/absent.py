"""What is not there → the error that says so, with what is there and near to it. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence

from dregutil.errors import NotFoundError
from dregutil.oci.names import Reference, RegistryAddress, Repository, Tag, parse_signature_tag
from dregutil.select.version import tag_order

__all__ = ["absent_image", "absent_text"]

_MOST_NAMED = 5


def absent_image(
    image: Reference, tags: Collection[Tag], there: Sequence[Repository], address: RegistryAddress
) -> NotFoundError:
    """The error for an image that is not there: `tags` are what its repository has, `there` all repositories."""
    if tags:
        ordered = sorted((tag for tag in tags if parse_signature_tag(tag) is None), key=tag_order, reverse=True)
        more = f" and {len(ordered) - _MOST_NAMED} more" if len(ordered) > _MOST_NAMED else ""
        named = f" (tags: {', '.join(ordered[:_MOST_NAMED])}{more})" if ordered else ""
        near = difflib.get_close_matches(image.tag or "", ordered, n=3)
        named = f" (did you mean {', '.join(near)}?)" if near else named
        absent = image if image.tag or image.digest else f"{image}:latest"
        return NotFoundError(
            f"there is no {absent}{named}", advice=f"`dregutil list-tag-names {image.repository}` lists them all"
        )
    host, slash, _ = image.repository.partition("/")
    if slash and ("." in host or host == "localhost") and host != address.host:
        return NotFoundError(
            f"{image} is not in {address.name}: {host} is another registry than -reg names",
            advice=f"name that one: -reg {host}",
        )
    return NotFoundError(absent_text(there, image.repository), advice="`dregutil list-repo-names` lists what is there")


def absent_text(there: Sequence[Repository], name: Repository) -> str:
    near = difflib.get_close_matches(name, [one for one in there if one != name], n=3)  # a catalog may have it, empty
    return f"there is no repository {name} with tags" + (f" (did you mean {', '.join(near)}?)" if near else "")
