"""Lists of images in use (text, Compose, Kubernetes manifests, `kubectl get … -o json`) → image names. Pure.

Structured lists are walked whole: every `image` wherever it stands, in kinds that nobody knows too. One image too
many costs nothing, one that is missed may cost a cluster.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dregutil.errors import RefusedError, UsageError
from dregutil.reference import Digest, Reference, RegistryAddress, Repository, Tag

__all__ = ["ImageName", "parse_image_name", "read_image_list", "registry_hosts"]

_STRUCTURED = re.compile(r"^\s*(?:-\s+)?['\"]?(?:apiVersion|kind|services|items|image|spec)['\"]?\s*:", re.MULTILINE)
_RUNTIME = re.compile(r"^[a-z-]+://")  # docker-pullable://…, as the status of a pod has it
_DIGEST = re.compile(r"sha(?:256|384|512):[0-9a-f]+")
_HUB = ("docker.io", "index.docker.io", "registry-1.docker.io")
_DEEPEST = 200


@dataclass(frozen=True, slots=True)
class ImageName:
    """An image as lists name it. `host` is empty for a short name; a bare digest has no `repository`."""

    host: str
    repository: Repository | None
    tag: Tag | None = None
    digest: Digest | None = None

    def repositories_in(self, hosts: frozenset[str], prefix: str = "") -> tuple[Repository, ...]:
        """The repositories that this may mean in a registry that is reached by `hosts` (and a path `prefix`)."""
        if self.repository is None or (self.host and self.host not in hosts):
            return ()
        name = str(self.repository)
        if self.host and prefix:
            if not name.startswith(f"{prefix}/"):
                return ()
            name = name[len(prefix) + 1 :]
        names = [name] if self.host not in _HUB or "/" in name else []
        if "/" not in name and (not self.host or self.host in _HUB):
            names.append(f"library/{name}")
        return tuple(map(Repository, names))


def registry_hosts(address: RegistryAddress, aliases: tuple[str, ...]) -> frozenset[str]:
    """All names by which lists may call a registry."""
    own = {address.netloc.lower(), address.identity.partition("/")[0]}
    found = own | {alias.lower().partition("://")[2] or alias.lower() for alias in aliases}
    return frozenset(found | set(_HUB) if found & set(_HUB) else found)


def parse_image_name(text: str) -> ImageName:
    """Read an image as Docker does: before the first `/` is a host if it has a dot or a colon. Raises UsageError."""
    bare = _RUNTIME.sub("", text.strip())
    if _DIGEST.fullmatch(bare):
        return ImageName("", None, None, Digest.parse(bare))
    first, slash, rest = bare.partition("/")
    host = first.lower() if slash and ("." in first or ":" in first or first == "localhost") else ""
    found = Reference.parse(rest if host else bare)
    tag = found.tag if found.tag is not None or found.digest is not None else Tag("latest")
    return ImageName(host, found.repository, tag, found.digest)


def read_image_list(text: str, name: str) -> tuple[ImageName, ...]:
    """All images that a list names, each once. Raises RefusedError where it cannot be read whole, or names none."""
    if text.lstrip().startswith(("{", "[")):
        found = list(_walked(_json_documents(text, name), name))
    elif _STRUCTURED.search(text):
        found = list(_walked(_yaml_documents(text, name), name))
    else:
        found = list(_from_lines(text, name))
    if not found:
        raise RefusedError(f"the list {name} names no image", advice="an empty list protects nothing: make it again")
    return tuple(dict.fromkeys(found))


def _from_lines(text: str, name: str) -> Iterator[ImageName]:
    for number, line in enumerate(text.splitlines(), start=1):
        for word in line.partition("#")[0].split():
            try:
                yield parse_image_name(word)
            except UsageError as error:
                raise RefusedError(f"{name}:{number}: {word[:100]!r} is no image: {error.message}") from error


def _json_documents(text: str, name: str) -> Iterator[Any]:
    decoder = json.JSONDecoder()
    place = 0
    while place < len(text):
        if text[place].isspace():
            place += 1
            continue
        try:
            found, place = decoder.raw_decode(text, place)
        except (ValueError, RecursionError) as error:
            raise RefusedError(
                f"the list {name} is cut short, or no JSON: {error}", advice="make it again; nothing was removed"
            ) from error
        yield found


def _yaml_documents(text: str, name: str) -> Iterator[Any]:
    import yaml

    loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
    try:
        yield from yaml.load_all(text, Loader=loader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        what = " ".join(str(error).split())
        raise RefusedError(
            f"the list {name} is no YAML: {what[:200]}", advice="templates must be rendered first; nothing was removed"
        ) from error


def _walked(documents: Iterator[Any], name: str) -> Iterator[ImageName]:
    for document in documents:
        for text in _images(document, set(), 0, name):
            if "$" in text or "{{" in text:
                raise RefusedError(
                    f"{name}: the image {text[:100]!r} has a variable in it, so nobody knows what it is",
                    advice="give the rendered form: `docker compose config`, `helm template`, `kubectl get … -o json`",
                )
            try:
                yield parse_image_name(text)
            except UsageError:
                continue  # a field of some other kind that is called `image` too: no cluster can run this


def _images(node: Any, seen: set[int], depth: int, name: str) -> Iterator[str]:
    """Every image under a node. Nodes that YAML's aliases share are walked once."""
    if id(node) in seen:
        return
    if depth > _DEEPEST:
        raise RefusedError(f"the list {name} is nested too deep to be read")
    if isinstance(node, dict):
        seen.add(id(node))
        for key, value in node.items():
            if key in ("image", "imageID") and isinstance(value, str):
                if value:
                    yield value
                continue
            if key == "image" and isinstance(value, dict):
                yield from _composed(value)
            yield from _images(value, seen, depth + 1, name)
    elif isinstance(node, list):
        seen.add(id(node))
        for item in node:
            yield from _images(item, seen, depth + 1, name)


def _composed(image: Mapping[str, Any]) -> Iterator[str]:
    """`image: {registry, repository, tag, digest}`, as Helm's values have it, or a volume's `image: {reference}`."""
    parts = {key: value for key, value in image.items() if isinstance(value, str) and value}
    if "reference" in parts:
        yield parts["reference"]
    if "repository" in parts:
        text = f"{parts['registry']}/{parts['repository']}" if "registry" in parts else parts["repository"]
        tag = f":{parts['tag']}" if "tag" in parts else ""
        digest = f"@{parts['digest']}" if "digest" in parts else ""
        yield f"{text}{tag}{digest}"
