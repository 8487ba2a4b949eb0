"""Docker's credential helpers: programs named `docker-credential-X` that keep secrets in a keychain.

Protocol: github.com/docker/docker-credential-helpers. `get` reads the server from standard input and writes a JSON
object; for an unknown server it fails with a fixed text.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Mapping

from dregutil.errors import CredentialError

__all__ = ["ask_helper"]

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
# What the helpers' common library prints for a server without credentials.
_NOTHING_KEPT = (
    b"credentials not found in native keychain",
    b"no credentials server URL",
    b"no credentials username",
)


def ask_helper(name: str, server: str, env: Mapping[str, str], *, timeout: float) -> tuple[str, str] | None:
    """The user and secret that helper `name` has for `server`; None without any.

    `timeout` is in seconds, and should be long enough to type a passphrase. Raises CredentialError, which never quotes
    the helper's output.
    """
    if not _NAME.fullmatch(name):
        raise CredentialError(f"{name[:100]!r} is not a valid name of a credential helper", advice=_instead(""))
    program = f"docker-credential-{name}"
    path = shutil.which(program, path=env.get("PATH"))
    if path is None:
        raise CredentialError(
            f"the credential helper {program} is not installed", advice=_instead(f"install {program}, or ")
        )
    see_why = _instead(f"`echo {server} | {program} get` shows why; or ")
    try:
        done = subprocess.run(  # noqa: S603 - no shell, and a name without any path in it
            [path, "get"],
            input=server.encode(),
            capture_output=True,
            timeout=timeout,
            env=dict(env),
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise CredentialError(f"{program} did not answer within {timeout:g} s", advice=see_why) from None
    except OSError as error:
        raise CredentialError(f"{program} cannot be run: {error.strerror}", advice=see_why) from None
    if done.returncode:
        if any(text in done.stdout for text in _NOTHING_KEPT):
            return None
        raise CredentialError(f"{program} failed for {server} (exit status {done.returncode})", advice=see_why)
    answer = _read_answer(done.stdout)
    if answer is None:
        raise CredentialError(f"the answer of {program} is invalid", advice=see_why)
    return answer if answer[1] else None


def _read_answer(raw: bytes) -> tuple[str, str] | None:
    try:
        answer = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    if not isinstance(answer, dict):
        return None
    user, secret = answer.get("Username"), answer.get("Secret")
    return (user, secret) if isinstance(user, str) and isinstance(secret, str) else None


def _instead(first: str) -> str:
    return f"{first}give -u and -p (or REGISTRY_USER and REGISTRY_PASSWORD)"
