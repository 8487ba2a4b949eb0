"""Names of images in lists, and the host names of one registry. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import parse_qs, unquote

from dregutil.errors import UsageError
from dregutil.oci.names import Digest, Reference, RegistryAddress, Repository, Tag, registry_spellings

__all__ = ["ImageName", "Mention", "OwnNames", "bare_id", "parse_image_name", "registry_hosts"]

_SCHEME = re.compile(r"^[a-z+-]+://")  # docker-pullable://…, as the status of a pod has it
_ID = re.compile(r"(?:(sha256|sha384|sha512):)?([0-9a-f]{12,128})")
_HUB = ("docker.io", "index.docker.io", "registry-1.docker.io")
_DEFAULT_PORT = re.compile(r":(?:443|80)$")
_REST = re.compile(r"[A-Za-z0-9._/:@+%~-]*")
_API = re.compile(r"v2/(.+)/(?:manifests|blobs|referrers|tags)/([^/]+)")
_PACKAGE = re.compile(r"pkg:(?:oci|docker)/[^\s\"'<>,;]+")
_CUT = "$*{<[\\…"  # after a name: a variable, a glob, an escape, an end that a table cut off
_LONGEST = 1024  # characters of a name; the grammar allows less than half
_LONGEST_SHOWN = 200


@dataclass(frozen=True, slots=True)
class ImageName:
    """The name of an image in a list.

    `host` is empty for a short name. Without a tag and a digest it means every tag of `repository`. Without a
    repository it is a digest, or an `id`: the first 12 or more hexadecimal digits of a digest of any kind.
    """

    host: str
    repository: Repository | None
    tag: Tag | None = None
    digest: Digest | None = None
    id: str = ""

    def repositories_in(self, hosts: frozenset[str], prefix: str = "") -> tuple[Repository, ...]:
        """The repositories that this may mean in a registry with these `hosts` (and a path `prefix`)."""
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


@dataclass(frozen=True, slots=True)
class Mention:
    """A place in a text that names the registry. `names` are the images that it may mean; empty if not understood.

    `is_url`: it follows `https://`, and may not be an image. `repository` is the part that could be read.
    """

    text: str
    names: tuple[ImageName, ...] = ()
    repository: ImageName | None = None
    is_url: bool = False

    @property
    def is_untagged(self) -> bool:
        return any(name.tag is None and name.digest is None for name in self.names)


@dataclass(frozen=True)
class OwnNames:
    """The host names of a registry in lists, without a default port: `registry.example.com`, `h:5000`."""

    hosts: frozenset[str] = frozenset()
    _pattern: re.Pattern[str] | None = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        names = sorted({_split_port(host)[0] for host in self.hosts}, key=len, reverse=True)
        pattern = None
        if names:
            # Not inside a longer host name, but possibly right after an escape (`\\n`).
            pattern = re.compile(
                rf"(?:(?<![A-Za-z0-9_.-])|(?<=\\[nrt]))(?:{'|'.join(map(re.escape, names))})\.?"
                r"(?::[0-9]+(?![A-Za-z0-9_-])|(?!:[0-9]))(?![A-Za-z0-9_-]|\.[A-Za-z0-9])",
                re.IGNORECASE,
            )
        object.__setattr__(self, "_pattern", pattern)

    def is_named_in(self, text: str) -> bool:
        return self._pattern is not None and self._pattern.search(text) is not None

    def mentions(self, text: str) -> Iterator[Mention]:
        """Every place in a text that names this registry, also percent-encoded or in a package URL."""
        if self._pattern is None:
            return
        packages = [found for found in _PACKAGE.finditer(text) if self._names_this(found.group())]
        for package in packages:
            yield _package_mention(self, package.group())
        yield from self._plain_mentions(_PACKAGE.sub(" ", text) if packages else text)
        if "%" in text and not packages and (plain := unquote(text)) != text:
            yield from self._plain_mentions(plain)

    def _names_this(self, package: str) -> bool:
        return any(True for _ in self._plain_mentions(unquote(package)))

    def _plain_mentions(self, text: str) -> Iterator[Mention]:
        place = 0
        while self._pattern is not None and (found := self._pattern.search(text, place)) is not None:
            place = found.end()
            host = _host(found.group())
            if host not in self.hosts:
                continue
            is_url = text[max(found.start() - 8, 0) : found.start()].lower().endswith(("http://", "https://"))
            rest = _REST.match(text, place)
            if text[place : place + 1] == "/" and rest is not None:
                place = max(rest.end(), place + 1)
                yield _read_mention(host, rest.group()[1:], text[place : place + 1], is_url=is_url)
            elif "." in host or ":" in host:
                yield Mention(host, is_url=is_url)


def registry_hosts(address: RegistryAddress, aliases: tuple[str, ...]) -> OwnNames:
    """All host names of a registry in lists."""
    named = [address.netloc, address.identity, *(_SCHEME.sub("", alias.lower()) for alias in aliases)]
    hosts = [_host(name.partition("/")[0]) for name in named]
    found = {_host(spelling) for host in hosts for spelling in (host, *registry_spellings(host))}
    return OwnNames(frozenset(found | set(_HUB) if found & set(_HUB) else found))


def parse_image_name(text: str) -> ImageName:
    """Parse an image name as Docker does: the part before the first `/` is a host if it has a dot or a colon. Raises
    UsageError."""
    bare = _SCHEME.sub("", text.strip())
    if bare.startswith("sha") and ":" in bare[:7]:
        return ImageName("", None, None, Digest.parse(bare))
    first, slash, rest = bare.partition("/")
    host = _host(first) if slash and ("." in first or ":" in first or first.lower() == "localhost") else ""
    found = Reference.parse(_with_plus(rest if host else bare))
    tag = found.tag if found.tag is not None or found.digest is not None else Tag("latest")
    return ImageName(host, found.repository, tag, found.digest)


def bare_id(text: str) -> ImageName | None:
    """Parse an image ID: a digest of 64 or more digits, or its first 12 or more as runtimes print them."""
    found = _ID.fullmatch(_SCHEME.sub("", text.strip()))
    if found is None:
        return None
    algorithm, value = found.groups()
    try:
        return ImageName("", None, None, Digest.parse(f"{algorithm or 'sha256'}:{value}"))
    except UsageError:
        return ImageName("", None, id=value) if len(value) < 64 else None


def _split_port(host: str) -> tuple[str, str]:
    name, colon, port = host.rpartition(":")
    return (name, port) if colon and port.isdecimal() else (host, "")


def _host(text: str) -> str:
    """Normalize a host name: lower case, no trailing dot, no default port."""
    name, port = _split_port(_DEFAULT_PORT.sub("", text.lower()))
    name = name.rstrip(".")
    return f"{name}:{port}" if port else name


def _with_plus(text: str) -> str:
    """Replace the `+` of a chart version by `_`, as Helm does in tags."""
    head, slash, last = text.rpartition("/")
    return f"{head}{slash}{last.replace('+', '_')}"


def _read_mention(host: str, rest: str, after: str, *, is_url: bool) -> Mention:
    """Read the text after a registry's host and slash; `after` is the character that follows it."""
    shown = f"{host}/{rest}"[:_LONGEST_SHOWN]
    api = _API.fullmatch(rest)
    if api is not None:
        name, version = api.groups()
        rest = f"{name}{'@' if ':' in version else ':'}{version}"
    is_cut = rest.endswith("...") or (after != "" and (after in _CUT or (not after.isascii() and after.isalnum())))
    if len(rest) > _LONGEST:
        return Mention(shown, is_url=is_url)
    trimmed = rest.rstrip("/.-")
    names = () if is_cut else tuple(dict.fromkeys(filter(None, (_named(host, one) for one in (rest, trimmed)))))
    if names or not trimmed:
        return Mention(shown.rstrip("/") if not trimmed else shown, names, is_url=is_url and api is None)
    head, slash, last = trimmed.rpartition("/")
    has_end = ":" in last or "@" in last
    repository = _named(host, f"{head}{slash}{re.split('[:@]', last)[0]}") if has_end or after == "$" else None
    return Mention(f"{shown}{after}" if is_cut and after.isprintable() else shown, (), repository)


def _named(host: str, text: str) -> ImageName | None:
    """Parse `repository`, `repository:tag`, `repository@digest`, or the `repository@tag` of a package URL."""
    name, at, version = _with_plus(text).partition("@")
    try:
        if at and ":" not in version:
            return ImageName(host, Repository.parse(name), Tag.parse(version))
        found = Reference.parse(f"{name}{at}{version}")
    except UsageError:
        return None
    return ImageName(host, found.repository, found.tag, found.digest)


def _package_mention(own: OwnNames, text: str) -> Mention:
    """A package URL: `pkg:oci/web@sha256%3A…?repository_url=host/shop/web&tag=1.0` (purl-spec, types oci, docker)."""
    path, _, query = text.partition("?")
    path, _, version = unquote(path).partition("/")[2].partition("@")
    qualifiers = {key: values[0] for key, values in parse_qs(query.partition("#")[0]).items()}
    place = _SCHEME.sub("", qualifiers.get("repository_url", "")).strip("/")
    ends = [f":{end}" if ":" not in end else f"@{end}" for end in (version, qualifiers.get("tag", "")) if end] or [""]
    found: dict[ImageName, None] = {}
    for name in (place, f"{place}/{path}" if place else path, f"{place}/{path.rpartition('/')[2]}"):
        host, _, rest = name.partition("/")
        if _host(host) in own.hosts and rest:
            found.update(dict.fromkeys(filter(None, (_named(_host(host), f"{rest}{end}") for end in ends))))
    return Mention(text[:_LONGEST_SHOWN], tuple(found))
