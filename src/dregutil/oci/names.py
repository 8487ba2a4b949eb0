"""Names: digests, tags, repositories, references and registry addresses.

Input is parsed once, at the edge; after that these types are passed, never bare strings. The grammar is that of the OCI
distribution-spec ("Pulling manifests") and of distribution/reference.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from dataclasses import dataclass, replace
from typing import Self
from urllib.parse import urlsplit

from dregutil.errors import UsageError

__all__ = [
    "Digest",
    "Reference",
    "RegistryAddress",
    "Repository",
    "SignatureTag",
    "Tag",
    "as_tag",
    "parse_accessory_tag",
    "parse_signature_tag",
    "registry_key",
    "registry_spellings",
]

# The spec registers sha256 and sha512. Its grammar allows others, but no server that was tested stores them.
_DIGEST_HEX = {"sha256": 64, "sha384": 96, "sha512": 128}
_HASHES = {"sha256": hashlib.sha256, "sha384": hashlib.sha384, "sha512": hashlib.sha512}
_HEX = re.compile(r"[0-9a-f]+")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_REPOSITORY = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")
_SIGNATURE_TAG = re.compile(r"(sha256|sha384|sha512)-([0-9a-f]{64,128})(?:\.(sig|att|sbom|src|dockerfile))?")
_ACCESSORY_TAG = re.compile(r"(sha256|sha384|sha512)-([0-9a-f]{64,128})\.([A-Za-z0-9._-]+)")
_REPOSITORY_LENGTH = 255
# The names of Docker Hub; only the last one serves the registry API.
_HUB_HOSTS = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})
_HUB = "docker.io"
_HUB_REGISTRY = "registry-1.docker.io"
# Names that always mean this machine. A name under .localhost, or 127.0.0.2, can be another server.
_LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")


class Digest(str):
    """`algorithm:hex`, the content address of a manifest or blob."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse a digest. Raises UsageError if `text` is not one."""
        algorithm, _, value = text.partition(":")
        if len(value) != _DIGEST_HEX.get(algorithm) or not _HEX.fullmatch(value):
            raise UsageError(f"not a digest: {text[:150]!r}", advice="a digest is sha256: and 64 hexadecimal digits")
        return cls(text)

    @classmethod
    def of(cls, raw: bytes, algorithm: str = "sha256") -> Self:
        """The digest of `raw`."""
        return cls(f"{algorithm}:{hashlib.new(algorithm, raw).hexdigest()}")

    @classmethod
    def of_key(cls, key: bytes) -> Self:
        """The digest with this `key`."""
        return cls(f"sha{len(key) * 8}:{key.hex()}")

    @property
    def key(self) -> bytes:
        """Its bytes: 32 of a sha256. Their number implies the algorithm."""
        return bytes.fromhex(self[self.index(":") + 1 :])

    @property
    def algorithm(self) -> str:
        return self.partition(":")[0]

    @property
    def hex(self) -> str:
        return self.partition(":")[2]

    @property
    def short(self) -> str:
        """The algorithm and the first 12 hexadecimal digits, for messages."""
        return f"{self.algorithm}:{self.hex[:12]}"

    def matches(self, raw: bytes) -> bool:
        """Whether `raw` has this digest."""
        algorithm, _, value = self.partition(":")
        return _HASHES[algorithm](raw).hexdigest() == value


class Tag(str):
    """A tag's name."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse a tag. Raises UsageError if `text` is not one."""
        if not _TAG.fullmatch(text):
            raise UsageError(f"not a tag: {text[:150]!r}", advice="a tag has letters, digits, '_', '.' and '-'")
        return cls(text)


is_tag = _TAG.fullmatch
"""Whether text is a tag."""


def as_tag(text: str) -> str:
    """A version as a tag: a tag cannot contain `+`, and Helm writes it as `_`."""
    return text.replace("+", "_")


class Repository(str):
    """A repository's name, without the registry."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse a repository's name. Raises UsageError if `text` is not one."""
        if len(text) > _REPOSITORY_LENGTH or not _REPOSITORY.fullmatch(text):
            raise UsageError(
                f"not a repository name: {text[:150]!r}",
                advice="a name has lower-case letters and digits, with '.', '_', '-' and '/' between them "
                "(and neither the registry nor a tag)",
            )
        return cls(text)


@dataclass(frozen=True, slots=True)
class SignatureTag:
    """The subject in a tag's name: `sha256-<hex>` (the referrers fallback tag) or, with a suffix, a tag of cosign
    (`.sig`, `.att`, `.sbom`) or of another tool that attaches something to an image (`.src`, `.dockerfile`).

    `hex` may be truncated: the fallback tag of a sha512 digest keeps 64 digits (OCI distribution-spec, "Referrers
    Tag Schema").
    """

    algorithm: str
    hex: str
    suffix: str

    def names(self, digest: Digest) -> bool:
        """Whether `digest` is the subject of this tag."""
        return digest.algorithm == self.algorithm and digest.hex.startswith(self.hex)


def registry_key(identity: str) -> str:
    """The key of a registry, given its identity in a record or a plan. Equal keys mean the same registry."""
    try:
        address = RegistryAddress.parse(identity)
    except UsageError:
        return identity
    host = _LOCAL_HOSTS[0] if address.host in _LOCAL_HOSTS else address.host
    return f"{replace(address, host=host).netloc.lower()}{address.prefix}"


def registry_spellings(identity: str) -> tuple[str, ...]:
    """The key of a registry, and the other identities with the same key: version 2.0.0 named its files by those."""
    key = registry_key(identity)
    try:
        address = RegistryAddress.parse(key)
    except UsageError:
        return (key,)
    hosts = _LOCAL_HOSTS if address.host in _LOCAL_HOSTS else (address.host,)
    return tuple(dict.fromkeys((key, *(f"{replace(address, host=host).netloc}{address.prefix}" for host in hosts))))


def parse_signature_tag(tag: str) -> SignatureTag | None:
    """The subject in a tag's name, or None for an ordinary tag."""
    found = _SIGNATURE_TAG.fullmatch(tag) if tag.startswith("sha") else None
    if found is None:
        return None
    algorithm, value, suffix = found.groups()
    return SignatureTag(algorithm, value, suffix or "")


def parse_accessory_tag(tag: str) -> SignatureTag | None:
    """As `parse_signature_tag`, with any suffix: other tools may attach something to an image in the same way."""
    found = _ACCESSORY_TAG.fullmatch(tag) if tag.startswith("sha") else None
    return parse_signature_tag(tag) if found is None else SignatureTag(*found.groups())


@dataclass(frozen=True, slots=True)
class RegistryAddress:
    """The address of a registry. `scheme` is empty if the user gave none.

    `identity` is the same for all spellings of one address: it ignores case, the default port and the scheme.
    """

    scheme: str
    host: str
    port: int | None
    prefix: str
    spelled: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `host[:port]` or a URL, which may have a path prefix. Raises UsageError.

        Credentials in a URL are refused: they would end up in logs and file names. `/v2/` is not part of the address.
        """
        spelled = text.strip().rstrip("/").removesuffix("/v2").rstrip("/")
        scheme, has_scheme, rest = spelled.partition("://")
        advice = "give host[:port] or a URL, such as registry.example.com:5000"
        if has_scheme and scheme.lower() not in ("http", "https"):
            raise UsageError(f"unknown scheme {scheme!r}", advice=advice)
        try:
            parts = urlsplit(f"//{rest if has_scheme else spelled}")
            port = parts.port
        except ValueError as error:
            raise UsageError(f"not a registry address: {error}", advice=advice) from error
        if parts.username is not None or parts.password is not None:
            raise UsageError(
                "the registry's address contains credentials",
                advice="give them with -u and --password-stdin instead",
            )
        if not parts.hostname or parts.query or parts.fragment or re.search(r"[\s\\]", spelled):
            raise UsageError(f"not a registry address: {text[:150]!r}", advice=advice)
        try:
            parts.hostname.encode("idna")
        except UnicodeError as error:
            raise UsageError(f"not a registry address: {text[:150]!r} names no host", advice=advice) from error
        return cls(scheme.lower() if has_scheme else "", parts.hostname, port, parts.path.rstrip("/"), spelled)

    @property
    def is_loopback(self) -> bool:
        if self.host == "localhost" or self.host.endswith(".localhost"):
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def is_docker_hub(self) -> bool:
        return self.host in _HUB_HOSTS and self.port in (None, 443)

    @property
    def netloc(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port is None else f"{host}:{self.port}"

    @property
    def base_url(self) -> str:
        """`scheme://host[:port]/prefix` without a trailing slash; https if no scheme was given."""
        return f"{self.scheme or 'https'}://{_HUB_REGISTRY if self.is_docker_hub else self.netloc}{self.prefix}"

    @property
    def name(self) -> str:
        """As the user wrote it, without the scheme: used by `--image-names` and in the name of the cache file."""
        return self.spelled.partition("://")[2] or self.spelled

    @property
    def identity(self) -> str:
        """The host in lower case, the port unless it is the scheme's default, and the prefix."""
        if self.is_docker_hub:
            return f"{_HUB}{self.prefix}"
        default = self.port is None or self.port == (80 if self.scheme == "http" else 443)
        bare = replace(self, port=None) if default else self
        return f"{bare.netloc.lower()}{self.prefix}"

    @property
    def key(self) -> str:
        """As `identity`, with all names of this machine (`localhost`, `127.0.0.1`, `::1`) as one. Runs, locks and
        records of a registry are found by it."""
        return registry_key(self.identity)

    def repository(self, text: str) -> Repository:
        """Parse the name of a repository of this registry. Raises UsageError.

        On Docker Hub a name without a slash is in `library/`. The registry's own name in front is removed.
        """
        name = text.removeprefix(f"{self.name}/")
        return Repository.parse(f"library/{name}" if self.is_docker_hub and "/" not in name else name)

    def with_scheme(self, scheme: str) -> RegistryAddress:
        return replace(self, scheme=scheme)


@dataclass(frozen=True, slots=True)
class Reference:
    """A reference to an image: `repository`, `repository:tag`, `repository@digest` or all three."""

    repository: Repository
    tag: Tag | None = None
    digest: Digest | None = None

    @classmethod
    def parse(cls, text: str, *, registry: RegistryAddress | None = None) -> Self:
        """Parse a reference; the registry's own name in front is removed. Raises UsageError."""
        rest = text
        if registry is not None and rest.startswith(f"{registry.name}/"):
            rest = rest[len(registry.name) + 1 :]
        rest, has_digest, digest = rest.partition("@")
        head, _, last = rest.rpartition("/")
        last, has_tag, tag = last.partition(":")
        name = f"{head}/{last}" if head else last
        return cls(
            Repository.parse(name) if registry is None else registry.repository(name),
            Tag.parse(as_tag(tag)) if has_tag else None,
            Digest.parse(digest) if has_digest else None,
        )

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag is not None else ""
        digest = f"@{self.digest}" if self.digest is not None else ""
        return f"{self.repository}{tag}{digest}"
