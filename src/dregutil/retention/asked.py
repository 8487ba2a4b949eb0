"""What is asked what is in use, instead of a list: Kubernetes clusters, and the local Docker or podman. Values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Engine", "Kubernetes"]


@dataclass(frozen=True, slots=True)
class Kubernetes:
    """Clusters that are asked what is in use, by the contexts of kubeconfig files.

    Without `contexts`, the current one; without a kubeconfig, the cluster that this runs in. `finished`: completed jobs
    and pods count. `ignore`: kinds that are not asked for, `kind.group`, or all of a group, `*.group`. `line` and
    `column` are its place in the policy file.
    """

    contexts: Sequence[str] | None = None
    finished: bool = True
    ignore: Sequence[str] = ()
    line: int = 0
    column: int = 0


@dataclass(frozen=True, slots=True)
class Engine:
    """The local `docker` or `podman`, which is asked for its containers."""

    name: str
    line: int = 0
    column: int = 0
