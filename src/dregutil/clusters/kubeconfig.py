"""How a cluster is reached: by a context of kubeconfig files, or as a pod, by its service account.

Files are merged as kubectl does: of several with the same name, the first counts; relative paths start at the folder of
the file that has them. https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig/
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dregutil.errors import RefusedError

__all__ = ["SERVICE_ACCOUNT", "Access", "ExecPlugin", "access_to", "kubeconfig_files"]

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_ADVICE = "nothing was removed: without the cluster's answer, what is running might go"
_NOT_SUPPORTED = ("auth-provider", "as", "as-uid", "as-groups", "as-user-extra")
_LONGEST = 16 << 20  # bytes of a file


@dataclass(frozen=True, slots=True)
class ExecPlugin:
    """A program that prints a credential. `cluster_info`: it is given the address and the CA of the cluster."""

    command: str
    arguments: tuple[str, ...]
    environment: tuple[tuple[str, str], ...] = field(repr=False)
    api_version: str
    install_hint: str = ""
    cluster_info: bool = False


@dataclass(frozen=True, slots=True)
class Access:
    """The address of an API server, and how it and we identify ourselves. Certificates and keys are PEM.

    `authority`: the CA; None for those of the system. `server_name`: the name in the server's certificate, if it is not
    that of the address.
    """

    context: str
    server: str
    authority: str | None = None
    insecure: bool = False
    server_name: str = ""
    certificate: bytes = field(default=b"", repr=False)
    key: bytes = field(default=b"", repr=False)
    token: str = field(default="", repr=False)
    login: tuple[str, str] | None = field(default=None, repr=False)
    plugin: ExecPlugin | None = None

    @property
    def name(self) -> str:
        """The name of the cluster's list in reports."""
        return f"kubernetes {self.context}" if self.context else "kubernetes (this cluster)"


def kubeconfig_files(env: Mapping[str, str]) -> tuple[Path, ...]:
    """The kubeconfig files that exist: those of KUBECONFIG, otherwise `~/.kube/config`."""
    named = [Path(name) for name in env.get("KUBECONFIG", "").split(os.pathsep) if name]
    home = [Path(env["HOME"]) / ".kube" / "config"] if env.get("HOME") else []
    return tuple(path for path in named or home if path.exists())


def access_to(context: str | None, env: Mapping[str, str], service_account: Path = SERVICE_ACCOUNT) -> Access:
    """How the cluster of a context is reached. None: the current context, or, without a kubeconfig, the cluster that
    this runs in. Raises RefusedError if that is not known, or needs what is not supported."""
    files = kubeconfig_files(env)
    if context is None and not files:
        return _of_this_pod(env, service_account)
    config = _Config(files)
    name = config.current if context is None else context
    found = config.entry("contexts", name) if name else None
    if found is None:
        shown = ", ".join(map(str, files)) or "no file, because KUBECONFIG and ~/.kube/config do not exist"
        what = f"there is no context {name!r}" if name else "no current context is set"
        raise RefusedError(f"kubernetes: {what} in {shown}", advice=_ADVICE)
    return _Reader(config, name).access(found)


def _of_this_pod(env: Mapping[str, str], folder: Path) -> Access:
    """https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/"""
    host, port = env.get("KUBERNETES_SERVICE_HOST", ""), env.get("KUBERNETES_SERVICE_PORT", "443")
    if not host:
        raise RefusedError(
            "kubernetes: there is no kubeconfig (KUBECONFIG, ~/.kube/config), and this does not run in a cluster",
            advice=_ADVICE,
        )
    token, authority = _read(folder / "token", "kubernetes"), _read(folder / "ca.crt", "kubernetes")
    shown = f"[{host}]" if ":" in host else host
    return Access("", f"https://{shown}:{port}", _text(authority, "kubernetes"), token=_token(token, "kubernetes"))


class _Config:
    """Several kubeconfig files as one."""

    def __init__(self, files: tuple[Path, ...]) -> None:
        self.current = ""
        self._entries: dict[tuple[str, str], tuple[Mapping[str, Any], Path]] = {}
        for path in files:
            self._add(path)

    def entry(self, kind: str, name: str) -> tuple[Mapping[str, Any], Path] | None:
        """What is named `name` among `contexts`, `clusters` or `users`, and the folder of its file."""
        return self._entries.get((kind, name))

    def _add(self, path: Path) -> None:
        import yaml

        try:
            found = yaml.load(_text(_read(path, "kubernetes"), str(path)), Loader=yaml.BaseLoader)  # noqa: S506 - texts only
        except (yaml.YAMLError, RecursionError):
            # The parser's message would quote the line, which may be a secret.
            raise RefusedError(f"kubernetes: {path} is not YAML", advice=_ADVICE) from None
        document = _mapping(found)
        self.current = self.current or _string(document.get("current-context"))
        for kind in ("contexts", "clusters", "users"):
            items = document.get(kind)
            for item in items if isinstance(items, list) else ():
                fields = _mapping(item)
                place = (kind, _string(fields.get("name")))
                self._entries.setdefault(place, (_mapping(fields.get(kind.removesuffix("s"))), path.absolute().parent))


class _Reader:
    """Reads one context."""

    def __init__(self, config: _Config, context: str) -> None:
        self.config = config
        self.context = context

    def access(self, found: tuple[Mapping[str, Any], Path]) -> Access:
        fields, _ = found
        cluster, folder = self._named("clusters", _string(fields.get("cluster")))
        user: Mapping[str, Any] = {}
        home = folder
        if _string(fields.get("user")):
            user, home = self._named("users", _string(fields.get("user")))
        server = _string(cluster.get("server"))
        if not server.startswith(("https://", "http://")):
            raise self._refused(f"its cluster has no address (server: {server[:100]!r})")
        if _string(cluster.get("proxy-url")):
            raise self._refused("proxy-url is not supported; HTTPS_PROXY in the environment is")
        for key in _NOT_SUPPORTED:
            if user.get(key):
                raise self._refused(f"{key!r} of its user is not supported")
        authority = self._pem(cluster, "certificate-authority", folder)
        name, password = _string(user.get("username")), _string(user.get("password"))
        return Access(
            self.context,
            server.rstrip("/"),
            _text(authority, f"the CA of the context {self.context}") if authority else None,
            _string(cluster.get("insecure-skip-tls-verify")).lower() == "true",
            _string(cluster.get("tls-server-name")),
            self._pem(user, "client-certificate", home),
            self._pem(user, "client-key", home),
            self._token(user, home),
            (name, password) if name or password else None,
            self._plugin(_mapping(user.get("exec")), home) if user.get("exec") else None,
        )

    def _named(self, kind: str, name: str) -> tuple[Mapping[str, Any], Path]:
        found = self.config.entry(kind, name)
        if found is None:
            raise self._refused(f"there is no {name!r} among the {kind} of the kubeconfig")
        return found

    def _pem(self, fields: Mapping[str, Any], key: str, folder: Path) -> bytes:
        """A file, or its content in `…-data`, which takes precedence."""
        data, file = _string(fields.get(f"{key}-data")), _string(fields.get(key))
        if data:
            try:
                return base64.b64decode("".join(data.split()), validate=True)
            except (binascii.Error, ValueError):
                raise self._refused(f"{key}-data is not base64") from None
        return _read(folder / file, f"kubernetes {self.context}") if file else b""

    def _token(self, user: Mapping[str, Any], folder: Path) -> str:
        file = _string(user.get("tokenFile"))
        if not file:
            return _string(user.get("token"))
        return _token(_read(folder / file, f"kubernetes {self.context}"), f"kubernetes {self.context}")

    def _plugin(self, fields: Mapping[str, Any], folder: Path) -> ExecPlugin:
        command = _string(fields.get("command"))
        if _string(fields.get("interactiveMode")) == "Always":
            raise self._refused(f"{command} needs a terminal (interactiveMode: Always)")
        if os.sep in command:
            command = str(folder / command)
        variables = [_mapping(one) for one in _list(fields.get("env"))]
        return ExecPlugin(
            command,
            tuple(map(_string, _list(fields.get("args")))),
            tuple((_string(one.get("name")), _string(one.get("value"))) for one in variables),
            _string(fields.get("apiVersion")),
            _string(fields.get("installHint")),
            _string(fields.get("provideClusterInfo")).lower() == "true",
        )

    def _refused(self, why: str) -> RefusedError:
        return RefusedError(f"kubernetes {self.context}: {why}", advice=_ADVICE)


def _read(path: Path, context: str) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_LONGEST)
    except OSError as error:
        raise RefusedError(f"{context}: {path} cannot be read: {error.strerror or error}", advice=_ADVICE) from error


def _text(raw: bytes, what: str) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise RefusedError(f"{what} is not UTF-8 text", advice=_ADVICE) from None


def _token(raw: bytes, context: str) -> str:
    return _text(raw, f"{context}: its token").strip()


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _string(value: Any) -> str:
    return value if isinstance(value, str) else ""
