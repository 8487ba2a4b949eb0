"""One tree of errors.

Each class has its exit code (`exit_code`) and its advice: an error is shown as one line that says what failed and why,
and a second one that says what to do next. No message holds a secret.

    DregutilError                    1
    ├── UsageError                   2  the command line, an environment variable or a selector
    ├── PartialError                 3  some of it failed, the rest is done
    ├── AccessError                  4  credentials or permission
    │   ├── LoginError                  the registry (or its token server) did not accept the credentials
    │   ├── DeniedError                 logged in, but without the right
    │   │   └── CatalogClosedError          the registry does not list its repositories to this login
    │   │       └── NoCatalogError         1    the registry has no catalog at all
    │   ├── DeletionDisabledError       the server does not allow deletion
    │   └── CredentialError             a credential source (Docker's config, a helper) cannot be used
    ├── RefusedError                 5  refused for safety
    │   ├── IntersectionError           --raise-intersecting-tag, --raise-intersecting-repo
    │   ├── BrakeError                  a plan that removes suspiciously much
    │   └── PlanRefusedError            altered, cut short, of another registry or version
    ├── UnreachableError             6  no answer, or an answer cut short
    │   ├── CertificateError            a server that cannot be trusted
    │   ├── CutShortError               an answer that broke off in the middle
    │   ├── NoRegistryError          1  another server answers at the address; also a NotARegistryError
    │   ├── OutcomeUnknownError         a write that may or may not have been carried out
    │   └── ThrottledError              the registry pushes back for longer than we wait
    │       └── PushedBackError         a write that was not sent: what it rests on was read too long ago
    ├── InterruptedRunError        130  Ctrl-C
    ├── NotFoundError                1  a repository, tag or digest that is not there
    ├── NotARegistryError            1  an answer that no registry gives
    ├── ProtocolError                1  an answer that cannot be trusted
    │   ├── DigestMismatchError         bytes that do not match their digest
    │   └── UnlistableError             a list that cannot be read to its end
    ├── RegistryError                1  an answer with an error status; its codes are data
    ├── NoListingError               1  a service's own list of a repository cannot be had
    ├── ManifestError                1  a manifest that cannot be read
    ├── CacheError                   1  a cache file or the content database cannot be used
    ├── StorageError                 3  a registry's own storage is not there, or cannot be read
    └── JournalError                 1  the record of a run cannot be written or read
        ├── DamagedRecordError       3  the part that can be read is not enough for the command
        └── StoreError               1  the shared store cannot be reached, or refuses what it was asked
            ├── ConflictError           another one has written what was to be written
            └── LeaseLostError          another one may write there by now: nothing more was sent
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = [
    "AccessError",
    "BrakeError",
    "CacheError",
    "CatalogClosedError",
    "CertificateError",
    "ConflictError",
    "CredentialError",
    "CutShortError",
    "DamagedRecordError",
    "DeletionDisabledError",
    "DeniedError",
    "DigestMismatchError",
    "DregutilError",
    "ErrorDetail",
    "InterruptedRunError",
    "IntersectionError",
    "JournalError",
    "LeaseLostError",
    "LoginError",
    "ManifestError",
    "NoCatalogError",
    "NoListingError",
    "NoRegistryError",
    "NotARegistryError",
    "NotFoundError",
    "OutcomeUnknownError",
    "PartialError",
    "PlanRefusedError",
    "ProtocolError",
    "PushedBackError",
    "RefusedError",
    "RegistryError",
    "StorageError",
    "StoreError",
    "ThrottledError",
    "UnlistableError",
    "UnreachableError",
    "UsageError",
    "escaped",
    "escaped_json",
]

# Characters that control a terminal or disguise a line: control characters (C0, DEL, C1), bidirectional overrides,
# invisible characters, line separators, and bytes that are not UTF-8.
_DANGEROUS = (
    "\x00-\x1f\x7f-\x9f\u00ad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u115f\u1160\u180e\u200b-\u200f"
    "\u2028-\u202e\u2060-\u206f\u3164\ud800-\udfff\ufeff\uffa0\ufff9-\ufffb"
    "\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e007f"
)
_ANY = re.compile(f"[{_DANGEROUS}]")
_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_BYTE = range(0xDC80, 0xDD00)  # how Python keeps a byte that is not UTF-8


class DregutilError(Exception):
    """The base of all errors that this package raises on purpose.

    `message` says what failed and why, in one line; `advice` says what to do next, or is empty.
    """

    exit_code = 1
    default_advice = ""
    has_lines = False  # whether the message is a list, a line each

    def __init__(self, message: str, *, advice: str | None = None) -> None:
        # It quotes servers, files and arguments, and is shown on a terminal.
        self.message = escaped(message, keep="\n" if self.has_lines else "")
        super().__init__(self.message)
        self.advice = escaped(self.default_advice if advice is None else advice)


class UsageError(DregutilError):
    """The command line, an environment variable or a selector is wrong."""

    exit_code = 2


class PartialError(DregutilError):
    """Some of it failed, the rest is done."""

    exit_code = 3


class AccessError(DregutilError):
    """Credentials or a permission are missing."""

    exit_code = 4


class LoginError(AccessError):
    """The registry (or its token server) did not accept the credentials."""

    default_advice = (
        "give -u and -p (or REGISTRY_USER and REGISTRY_PASSWORD), or log in with `docker login`; "
        "`dregutil doctor` shows which login was used"
    )


class DeniedError(AccessError):
    """Logged in, but without the right."""

    default_advice = "ask the registry's administrator for the right; `dregutil doctor` shows which login was used"


class CatalogClosedError(DeniedError):
    """The registry does not list its repositories to this login."""

    default_advice = (
        "write the names of the repositories into a file, one a line, and give it with --repositories-from FILE "
        "('-' is standard input); or name them with -r and give --ignore-other-repos, which needs no catalog"
    )


class NoCatalogError(CatalogClosedError):
    """The registry has no catalog at all."""

    exit_code = 1


class DeletionDisabledError(AccessError):
    """The server does not allow deletion."""

    default_advice = (
        "set REGISTRY_STORAGE_DELETE_ENABLED=true (storage.delete.enabled in the registry's configuration) "
        "and restart the registry; a pull-through cache never deletes"
    )


class CredentialError(AccessError):
    """A credential source (Docker's config, a helper) cannot be used."""


class RefusedError(DregutilError):
    """Something was refused for safety."""

    exit_code = 5


class IntersectionError(RefusedError):
    """`--raise-intersecting-tag` or `--raise-intersecting-repo` refuses."""


class BrakeError(RefusedError):
    """A plan that removes suspiciously much."""


class PlanRefusedError(RefusedError):
    """A plan that was altered or cut short, or is of another registry or version."""


class UnreachableError(DregutilError):
    """No answer, or an answer cut short."""

    exit_code = 6
    default_advice = "check the address (-reg) and the network; `dregutil doctor` examines each step"


class CertificateError(UnreachableError):
    """A server that cannot be trusted."""

    default_advice = (
        "name the CA that signed the server's certificate with -v FILE (or REQUESTS_CA_BUNDLE); "
        "`-v None` switches verification off and is unsafe"
    )


class CutShortError(UnreachableError):
    """An answer that broke off in the middle."""


class OutcomeUnknownError(UnreachableError):
    """`status` is HTTP's, 0 where there was no answer."""

    default_advice = "run the same command again: what is already gone counts as done"

    def __init__(self, message: str, *, advice: str | None = None, status: int = 0) -> None:
        super().__init__(message, advice=advice)
        self.status = status


class ThrottledError(UnreachableError):
    """The registry pushes back for longer than we wait."""

    default_advice = "wait, or lower --concurrency"


class PushedBackError(ThrottledError):
    """A write that was not sent: what it rests on was read too long ago."""


class InterruptedRunError(DregutilError):
    """The run was interrupted (Ctrl-C)."""

    exit_code = 130


class NotFoundError(DregutilError):
    """A repository, tag or digest that is not there."""


class NotARegistryError(DregutilError):
    """An answer that no registry gives."""

    default_advice = "check the address (-reg), its port and its path; `dregutil doctor` shows what answers there"


class NoRegistryError(UnreachableError, NotARegistryError):
    """Another server answers at the address; also a NotARegistryError."""

    exit_code = 1
    default_advice = NotARegistryError.default_advice


class ProtocolError(DregutilError):
    """An answer that cannot be trusted."""

    default_advice = "the answer was ignored; `dregutil doctor` examines the registry"


class DigestMismatchError(ProtocolError):
    """Bytes that do not match their digest."""


class UnlistableError(ProtocolError):
    """A list that cannot be read to its end."""


@dataclass(frozen=True, slots=True)
class ErrorDetail:
    """One entry of a registry's error body (OCI distribution-spec, "Error Codes")."""

    code: str
    message: str = ""
    detail: str = ""


class RegistryError(DregutilError):
    """An answer with an error status. `status` is HTTP's; `errors` holds the body's entries, as data."""

    def __init__(
        self,
        message: str,
        *,
        status: int,
        errors: Sequence[ErrorDetail] = (),
        advice: str | None = None,
    ) -> None:
        super().__init__(message, advice=advice)
        self.status = status
        self.errors = tuple(errors)

    @property
    def codes(self) -> frozenset[str]:
        """The spec's error codes that the body named (`MANIFEST_UNKNOWN`, …)."""
        return frozenset(error.code for error in self.errors)


class NoListingError(DregutilError):
    """A service's own list of a repository cannot be had; the distribution API is used instead.

    `is_everywhere`: nor that of any other repository of this registry, with this login. `status` is HTTP's, 0 where it
    was not refused by an answer.
    """

    def __init__(
        self, message: str, *, advice: str | None = None, is_everywhere: bool = False, status: int = 0
    ) -> None:
        super().__init__(message, advice=advice)
        self.is_everywhere = is_everywhere
        self.status = status


class ManifestError(DregutilError):
    """A manifest that cannot be read."""


class CacheError(DregutilError):
    """A cache file or the content database cannot be used."""


class StorageError(DregutilError):
    """A registry's own storage is not there, or cannot be read."""

    exit_code = 3
    default_advice = "name the registry's storage with --storage, and run this as a user who may read it"


class JournalError(DregutilError):
    """The record of a run cannot be written or read."""


class DamagedRecordError(JournalError):
    """The part that can be read is not enough for the command."""

    exit_code = 3


class StoreError(JournalError):
    """The shared store cannot be reached, or refuses what it was asked."""

    may_repeat = False  # the store is away, and nothing of what it was asked was done


class StoreAccessError(StoreError):
    """The shared store does not let this user in, or do that."""

    exit_code = 4
    default_advice = "`dregutil store grants` prints what each role may do, `dregutil store check` what this one may"


class ConflictError(StoreError):
    """Another one has written what was to be written."""


class LeaseLostError(StoreError):
    """Another one may write there by now: nothing more was sent."""


def escaped(text: str, *, keep: str = "") -> str:
    """`text` on one line, with `\\x1b` or `\\u202e` for characters that are not shown; those of `keep` stay."""
    if text.isascii() and text.isprintable():
        return text
    return _ANY.sub(lambda found: found[0] if found[0] in keep else _written(found[0]), text)


def escaped_json(text: str) -> str:
    """A JSON text with the same characters written as `\\uXXXX`: its meaning is the same. Its lines stay."""
    return text if text.isascii() else _ANY.sub(lambda found: _in_json(found[0]), text)


def _written(character: str) -> str:
    code = ord(character)
    if character in _NAMED:
        return _NAMED[character]
    if code in _BYTE:
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _in_json(character: str) -> str:
    if character == "\n":
        return character
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[place : place + 2].hex()}" for place in range(0, len(units), 2))
