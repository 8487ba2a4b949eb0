"""Credential plugins of kubeconfig files: programs that print an ExecCredential.

https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins
"""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from dregutil.clusters.kubeconfig import Access, ExecPlugin
from dregutil.errors import RefusedError

__all__ = ["with_plugin"]

_VERSIONS = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")
_PATIENCE = 60.0  # seconds; a plugin may call a service that logs in


async def with_plugin(access: Access, env: Mapping[str, str]) -> Access:
    """`access` with the credential that its plugin prints, if it has one. Raises RefusedError, which never quotes what
    the plugin printed."""
    if access.plugin is None:
        return access
    if access.plugin.api_version not in _VERSIONS:
        raise _refused(access, f"its version {access.plugin.api_version!r} is none of {', '.join(_VERSIONS)}")
    printed = await asyncio.to_thread(_run, access, access.plugin, env)
    try:
        answer = json.loads(printed)
    except (ValueError, RecursionError):
        raise _refused(access, "it printed no ExecCredential") from None
    if not isinstance(answer, dict) or answer.get("kind") != "ExecCredential":
        raise _refused(access, "it printed no ExecCredential")
    if answer.get("apiVersion") != access.plugin.api_version:
        raise _refused(access, f"it printed another version than {access.plugin.api_version}")
    return _with_status(access, answer.get("status"))


def _with_status(access: Access, status: Any) -> Access:
    fields = status if isinstance(status, dict) else {}
    found = {key: str(fields.get(key) or "") for key in ("token", "clientCertificateData", "clientKeyData")}
    if not found["token"] and not (found["clientCertificateData"] and found["clientKeyData"]):
        raise _refused(access, "it printed neither a token nor a certificate with its key")
    expires = str(fields.get("expirationTimestamp") or "")
    try:
        is_over = bool(expires) and datetime.fromisoformat(expires) <= datetime.now(UTC)
    except (TypeError, ValueError):
        raise _refused(access, f"its expirationTimestamp {expires[:50]!r} is not a time") from None
    if is_over:
        raise _refused(access, f"its credential has expired ({expires})")
    return replace(
        access,
        token=found["token"] or access.token,
        certificate=found["clientCertificateData"].encode() or access.certificate,
        key=found["clientKeyData"].encode() or access.key,
    )


def _run(access: Access, plugin: ExecPlugin, env: Mapping[str, str]) -> bytes:
    path = shutil.which(plugin.command, path=env.get("PATH"))
    if path is None:
        raise _refused(access, " ".join(("it is not installed", plugin.install_hint[:500])).strip())
    spec: dict[str, Any] = {"interactive": False}
    if plugin.cluster_info:
        spec["cluster"] = _cluster_info(access)
    info = {"apiVersion": plugin.api_version, "kind": "ExecCredential", "spec": spec}
    try:
        done = subprocess.run(  # noqa: S603 - what the user's kubeconfig names; no shell
            [path, *plugin.arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # it may contain secrets
            timeout=_PATIENCE,
            env={**env, **dict(plugin.environment), "KUBERNETES_EXEC_INFO": json.dumps(info)},
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise _refused(access, f"it did not end within {_PATIENCE:g} s") from None
    except (OSError, ValueError) as error:
        raise _refused(access, f"it cannot be run: {getattr(error, 'strerror', None) or 'invalid arguments'}") from None
    if done.returncode:
        raise _refused(access, f"it failed (exit status {done.returncode})")
    return done.stdout


def _cluster_info(access: Access) -> dict[str, Any]:
    found: dict[str, Any] = {"server": access.server}
    if access.authority is not None:
        found["certificate-authority-data"] = base64.b64encode(access.authority.encode()).decode()
    if access.insecure:
        found["insecure-skip-tls-verify"] = True
    if access.server_name:
        found["tls-server-name"] = access.server_name
    return found


def _refused(access: Access, why: str) -> RefusedError:
    command = "" if access.plugin is None else access.plugin.command
    return RefusedError(
        f"{access.name}: the credential plugin {command}: {why}",
        advice=f"`kubectl --context {access.context} version` runs the same plugin; nothing was removed",
    )
