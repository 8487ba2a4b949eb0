"""What answers contain: error bodies as data and as errors of this package, digests, lengths."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from dregutil.errors import (
    DeniedError,
    DigestMismatchError,
    DregutilError,
    ErrorDetail,
    LoginError,
    ProtocolError,
    RegistryError,
    UsageError,
)
from dregutil.oci.manifest import DOCKER_SCHEMA1_SIGNED, OCI_INDEX, Descriptor, parse_manifest
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.registry.auth.challenge import parse_challenges
from dregutil.registry.http.transport import Answer

__all__ = [
    "digest_of",
    "doubtful",
    "error_details",
    "failure",
    "is_aged",
    "is_unknown_name",
    "length_of",
    "referrers_in",
]

_MOST_ERRORS = 20
_LONGEST_TEXT = 300


def error_details(body: bytes, redacted: Callable[[str], str] = str) -> tuple[ErrorDetail, ...]:
    """The entries of an error body (OCI distribution-spec, "Error Codes"); none if it is anything else.

    `redacted` removes secrets from a text: a server may repeat them. It is called before the text is cut.
    """
    try:
        found: Any = msgspec.json.decode(body) if body else None
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return ()
    entries = found.get("errors") if isinstance(found, dict) else None
    if not isinstance(entries, list):
        return ()
    return tuple(
        ErrorDetail(*(_text(entry.get(name), redacted) for name in ("code", "message", "detail")))
        for entry in entries[:_MOST_ERRORS]
        if isinstance(entry, dict)
    )


def failure(answer: Answer, what: str, user: str, redacted: Callable[[str], str] = str) -> DregutilError:
    """The error for an answer that refuses `what`. `user`: the login, if any. `redacted`: see `error_details`."""
    errors = error_details(answer.body, redacted)
    said = "; ".join(dict.fromkeys(error.message or error.code for error in errors if error.message or error.code))
    reason = f"{said} (status {answer.status})" if said else f"status {answer.status}"
    challenges = parse_challenges(answer.headers.getall("WWW-Authenticate", []))
    if any(challenge.get("error") == "insufficient_scope" for challenge in challenges):
        # There was a token, which allows less than the request needs: the login itself is accepted.
        who = f"{user!r} has" if user else "an anonymous user has"
        advice = DeniedError.default_advice if user else LoginError.default_advice
        return DeniedError(f"could not {what}: {who} no right to ({reason})", advice=advice)
    if answer.status == 401:
        who = f"the login {user!r} was not accepted" if user else "the registry wants a login"
        return LoginError(f"could not {what}: {who} ({reason})")
    if answer.status == 403 or any(error.code == "DENIED" for error in errors):
        who = f"{user!r} has" if user else "an anonymous user has"
        return DeniedError(f"could not {what}: {who} no right to ({reason})")
    return RegistryError(f"could not {what}: {reason}", status=answer.status, errors=errors)


def doubtful(answer: Answer, user: str, address: str) -> LoginError:
    """The error for a refused login (401, 403) where nothing shows that a registry answers at `address`."""
    if answer.status == 401:
        why = f"it did not accept the login {user!r}" if user else "it wants a login"
    else:
        why = f"it refuses the login {user!r}" if user else "it allows nothing without a login"
    return LoginError(
        f"no sign of a registry at {address}: {why} (status {answer.status})",
        advice=(
            "check the address (-reg), its port and its path; if a registry is behind this: "
            f"{LoginError.default_advice}"
        ),
    )


def is_unknown_name(answer: Answer) -> bool:
    """Whether an answer says that the repository or manifest does not exist, not just that the path does not."""
    codes = {error.code for error in error_details(answer.body)}
    return bool(codes & {"NAME_UNKNOWN", "NOT_FOUND", "MANIFEST_UNKNOWN"})


def digest_of(answer: Answer, media_type: str, repository: Repository, reference: Tag | Digest) -> Digest:
    """The digest of a manifest's bytes, which must match the requested one and the one that the server names.

    The digest of a signed schema 1 manifest covers its payload without the signatures: there the server is trusted.
    Raises DigestMismatchError and ProtocolError.
    """
    named = answer.headers.get("Docker-Content-Digest", "")
    asked = reference if isinstance(reference, Digest) else None
    try:
        said = Digest.parse(named) if named else None
    except UsageError as error:
        raise ProtocolError(f"the registry names an invalid digest for {repository}:{reference}") from error
    expected = asked or said
    digest = Digest.of(answer.body, expected.algorithm if expected is not None else "sha256")
    if expected is not None and digest != expected:
        if media_type == DOCKER_SCHEMA1_SIGNED and said == expected:
            return expected
        raise DigestMismatchError(f"the manifest of {repository}:{reference} does not match its digest")
    return digest


def is_aged(answer: Answer) -> bool:
    """Whether an answer comes from a cache (RFC 9111 §5.1)."""
    return answer.headers.get("Age", "").strip().lstrip("0").isdigit()


def length_of(answer: Answer) -> int:
    """The length of an answer in bytes, by its header; -1 if it has none."""
    text = answer.headers.get("Content-Length", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else -1


def referrers_in(answer: Answer, subject: Digest) -> tuple[Descriptor, ...]:
    """The referrers in one page of their list. Raises ProtocolError if it is the subject itself."""
    digest = Digest.of(answer.body, subject.algorithm)
    if digest == subject:
        raise ProtocolError(f"the registry answers with {subject.short} itself to the request for its referrers")
    return parse_manifest(answer.body, OCI_INDEX, digest).children


def _text(value: object, redacted: Callable[[str], str]) -> str:
    if value is None or value == {}:
        return ""
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode(errors="replace")
    return "".join(character if character.isprintable() else " " for character in redacted(text)[:_LONGEST_TEXT])
