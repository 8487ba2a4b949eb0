"""Names: digests, tags, repositories, references and a registry's address.

Parsed once, at the edge; afterwards these types are passed, never bare strings. The grammar is that of the OCI
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

# The spec names sha256 and sha512; others are allowed by its grammar, but no server here stores them.
_DIGEST_HEX = {"sha256": 64, "sha384": 96, "sha512": 128}
_HEX = re.compile(r"[0-9a-f]+")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_REPOSITORY = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")
_SIGNATURE_TAG = re.compile(r"(sha256|sha384|sha512)-([0-9a-f]{64,128})(?:\.(sig|att|sbom|src|dockerfile))?")
_ACCESSORY_TAG = re.compile(r"(sha256|sha384|sha512)-([0-9a-f]{64,128})\.([A-Za-z0-9._-]+)")
_REPOSITORY_LENGTH = 255
# Docker Hub has many names; only the last one answers as a registry.
_HUB_HOSTS = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})
_HUB = "docker.io"
_HUB_REGISTRY = "registry-1.docker.io"
# Names of this machine alone. A name under .localhost, or 127.0.0.2, may well be another server.
_LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")


class Digest(str):
    """`algorithm:hex`, the content address of a manifest or blob."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a digest; raises UsageError where `text` is none."""
        algorithm, _, value = text.partition(":")
        if len(value) != _DIGEST_HEX.get(algorithm) or not _HEX.fullmatch(value):
            raise UsageError(f"not a digest: {text[:150]!r}", advice="a digest is sha256: and 64 hexadecimal digits")
        return cls(text)

    @classmethod
    def of(cls, raw: bytes, algorithm: str = "sha256") -> Self:
        """The digest of `raw`."""
        return cls(f"{algorithm}:{hashlib.new(algorithm, raw).hexdigest()}")

    @property
    def algorithm(self) -> str:
        return self.partition(":")[0]

    @property
    def hex(self) -> str:
        return self.partition(":")[2]

    @property
    def short(self) -> str:
        """The first 12 hexadecimal digits, with the algorithm: enough for a person."""
        return f"{self.algorithm}:{self.hex[:12]}"

    def matches(self, raw: bytes) -> bool:
        """Whether `raw` is what this digest names."""
        return hashlib.new(self.algorithm, raw).hexdigest() == self.hex


class Tag(str):
    """A tag's name."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a tag; raises UsageError where `text` is none."""
        if not _TAG.fullmatch(text):
            raise UsageError(f"not a tag: {text[:150]!r}", advice="a tag has letters, digits, '_', '.' and '-'")
        return cls(text)


def as_tag(text: str) -> str:
    """A tag's name as people write it: no tag may have the `+` of a version, and Helm writes it as `_`."""
    return text.replace("+", "_")


class Repository(str):
    """A repository's name, without the registry."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a repository's name; raises UsageError where `text` is none."""
        if len(text) > _REPOSITORY_LENGTH or not _REPOSITORY.fullmatch(text):
            raise UsageError(
                f"not a repository name: {text[:150]!r}",
                advice="a name has lower-case letters and digits, with '.', '_', '-' and '/' between them "
                "(and neither the registry nor a tag)",
            )
        return cls(text)


@dataclass(frozen=True, slots=True)
class SignatureTag:
    """What a tag's name says about a subject: `sha256-<hex>` (referrers' fallback) or, with a suffix, cosign's `.sig`,
    `.att`, `.sbom`, and what others put beside an image (`.src`, `.dockerfile`).

    `hex` may be cut short: the fallback tag of a sha512 digest keeps 64 digits (OCI distribution-spec, "Referrers
    Tag Schema").
    """

    algorithm: str
    hex: str
    suffix: str

    def names(self, digest: Digest) -> bool:
        """Whether `digest` is the subject that this tag is about."""
        return digest.algorithm == self.algorithm and digest.hex.startswith(self.hex)


def registry_key(identity: str) -> str:
    """The key of a registry that a record or a plan names by its identity. Two that are equal are one registry."""
    try:
        address = RegistryAddress.parse(identity)
    except UsageError:
        return identity
    host = _LOCAL_HOSTS[0] if address.host in _LOCAL_HOSTS else address.host
    return f"{replace(address, host=host).netloc.lower()}{address.prefix}"


def registry_spellings(identity: str) -> tuple[str, ...]:
    """The key of a registry, and the other identities that have the same key: 2.0.0 named its files by those."""
    key = registry_key(identity)
    try:
        address = RegistryAddress.parse(key)
    except UsageError:
        return (key,)
    hosts = _LOCAL_HOSTS if address.host in _LOCAL_HOSTS else (address.host,)
    return tuple(dict.fromkeys((key, *(f"{replace(address, host=host).netloc}{address.prefix}" for host in hosts))))


def parse_signature_tag(tag: str) -> SignatureTag | None:
    """The subject that a tag's whole name speaks of, or None for an ordinary tag."""
    found = _SIGNATURE_TAG.fullmatch(tag) if tag.startswith("sha") else None
    if found is None:
        return None
    algorithm, value, suffix = found.groups()
    return SignatureTag(algorithm, value, suffix or "")


def parse_accessory_tag(tag: str) -> SignatureTag | None:
    """The same with any suffix: what a tool that is not known here may have put beside its subject."""
    found = _ACCESSORY_TAG.fullmatch(tag) if tag.startswith("sha") else None
    return parse_signature_tag(tag) if found is None else SignatureTag(*found.groups())


@dataclass(frozen=True, slots=True)
class RegistryAddress:
    """Where a registry is. `scheme` is empty where the user named none.

    Two spellings of one address are equal by `identity` (case, default port and scheme set aside).
    """

    scheme: str
    host: str
    port: int | None
    prefix: str
    spelled: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `host[:port]` or a URL, which may carry a path prefix; raises UsageError.

        Credentials in a URL are refused: they would end in logs and file names. The API's own `/v2/` is not part of it.
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
        """`scheme://host[:port]/prefix` without a closing slash; https where no scheme was named."""
        return f"{self.scheme or 'https'}://{_HUB_REGISTRY if self.is_docker_hub else self.netloc}{self.prefix}"

    @property
    def name(self) -> str:
        """As spelled by the user, without the scheme: what `--image-names` and the cache's file name use."""
        return self.spelled.partition("://")[2] or self.spelled

    @property
    def identity(self) -> str:
        """One string for one registry: host in lower case, the port unless it is the scheme's own, the prefix."""
        if self.is_docker_hub:
            return f"{_HUB}{self.prefix}"
        default = self.port is None or self.port == (80 if self.scheme == "http" else 443)
        bare = replace(self, port=None) if default else self
        return f"{bare.netloc.lower()}{self.prefix}"

    @property
    def key(self) -> str:
        """As `identity`, with what names this machine alone (`localhost`, `127.0.0.1`, `::1`) as one: runs, locks and
        records of a registry are found by it."""
        return registry_key(self.identity)

    def repository(self, text: str) -> Repository:
        """A repository of this registry as people write it; raises UsageError.

        On Docker Hub a name without a slash is one of `library/`; the registry's own name before it is taken off.
        """
        name = text.removeprefix(f"{self.name}/")
        return Repository.parse(f"library/{name}" if self.is_docker_hub and "/" not in name else name)

    def with_scheme(self, scheme: str) -> RegistryAddress:
        return replace(self, scheme=scheme)


@dataclass(frozen=True, slots=True)
class Reference:
    """An image as people write it: `repository`, `repository:tag`, `repository@digest` or all three."""

    repository: Repository
    tag: Tag | None = None
    digest: Digest | None = None

    @classmethod
    def parse(cls, text: str, *, registry: RegistryAddress | None = None) -> Self:
        """Read an image's name, with the registry's own name before it taken off; raises UsageError."""
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
