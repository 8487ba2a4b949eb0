"""Error answers: the spec's error bodies as data, and the errors of ours that they become."""

from __future__ import annotations

from typing import Any

import msgspec

from dregutil.errors import DeniedError, DregutilError, ErrorDetail, LoginError, RegistryError
from dregutil.registry.challenge import parse_challenges
from dregutil.registry.transport import Answer

__all__ = ["error_details", "failure"]

_MOST_ERRORS = 20
_LONGEST_TEXT = 300


def error_details(body: bytes) -> tuple[ErrorDetail, ...]:
    """The entries of an error body (OCI distribution-spec, "Error Codes"); none where it is empty or something else."""
    try:
        found: Any = msgspec.json.decode(body) if body else None
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return ()
    entries = found.get("errors") if isinstance(found, dict) else None
    if not isinstance(entries, list):
        return ()
    return tuple(
        ErrorDetail(_text(entry.get("code")), _text(entry.get("message")), _text(entry.get("detail")))
        for entry in entries[:_MOST_ERRORS]
        if isinstance(entry, dict)
    )


def failure(answer: Answer, what: str, user: str) -> DregutilError:
    """The error for an answer that refuses `what`; `user` is who asked, if anybody."""
    errors = error_details(answer.body)
    said = "; ".join(dict.fromkeys(error.message or error.code for error in errors if error.message or error.code))
    reason = f"{said} (status {answer.status})" if said else f"status {answer.status}"
    challenges = parse_challenges(answer.headers.getall("WWW-Authenticate", []))
    if any(challenge.get("error") == "insufficient_scope" for challenge in challenges):
        # We had a token, and it allows less than was asked for: who we are is not in doubt.
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


def _text(value: object) -> str:
    if value is None or value == {}:
        return ""
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode(errors="replace")
    return "".join(character if character.isprintable() else " " for character in text[:_LONGEST_TEXT])
