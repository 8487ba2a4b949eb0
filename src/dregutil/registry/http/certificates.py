"""Certificates that Docker and podman keep for a registry: `certs.d/HOST[:PORT]/`.

`*.crt` is a CA certificate; `*.cert` and `*.key` of the same name are a client certificate and its key
(docs.docker.com, containers-certs.d(5)). The same three folders are read as by podman.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from dregutil.errors import UsageError
from dregutil.oci.names import RegistryAddress

__all__ = ["Certificates", "ClientPair", "certificate_folders", "certificates_of"]

_SYSTEM = (Path("/etc/containers/certs.d"), Path("/etc/docker/certs.d"))


@dataclass(frozen=True, slots=True)
class ClientPair:
    """A client certificate, and its key if that is in a separate file."""

    certificate: Path
    key: Path | None


@dataclass(frozen=True, slots=True)
class Certificates:
    """The certificates for one registry."""

    authorities: tuple[Path, ...] = ()
    pairs: tuple[ClientPair, ...] = ()


def certificate_folders(env: Mapping[str, str] = os.environ) -> tuple[Path, ...]:
    """The `certs.d` folders, the user's first."""
    home = env.get("XDG_CONFIG_HOME") or (f"{env['HOME']}/.config" if env.get("HOME") else "")
    return (*((Path(home) / "containers" / "certs.d",) if home else ()), *_SYSTEM)


def certificates_of(address: RegistryAddress, folders: tuple[Path, ...] | None = None) -> Certificates:
    """The CAs of all folders, and the client certificates of the first folder that has any.

    A folder that cannot be read is skipped, as podman does. Raises UsageError for a certificate without its key.
    """
    authorities: list[Path] = []
    pairs: tuple[ClientPair, ...] = ()
    for folder in certificate_folders() if folders is None else folders:
        for name in _names(address):
            files = _files(folder / name)
            authorities += [path for path in files if path.suffix == ".crt"]
            pairs = pairs or tuple(_pairs(files))
    return Certificates(tuple(authorities), pairs)


def _names(address: RegistryAddress) -> tuple[str, ...]:
    """The possible names of a registry's folder: port 443 may be written or left out."""
    bare = address.netloc.removesuffix(":443")
    return (bare, f"{bare}:443") if address.port in (None, 443) else (bare,)


def _files(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.is_file())
    except OSError:
        return []


def _pairs(files: list[Path]) -> Iterator[ClientPair]:
    for path in files:
        partner = path.with_suffix(".key" if path.suffix == ".cert" else ".cert")
        if path.suffix in (".cert", ".key") and partner not in files:
            raise UsageError(
                f"{path} has no {partner.name} next to it",
                advice="a client certificate is NAME.cert with NAME.key, a CA certificate is NAME.crt",
            )
        if path.suffix == ".cert":
            yield ClientPair(path, partner)
