"""A section `kubernetes` of a policy → a list of images in use for each of its clusters."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from dregutil.clusters.client import Client, GoneError, client_to
from dregutil.clusters.discovery import Kind, group_path, groups_in, kinds_in, to_ask
from dregutil.clusters.exec_plugin import with_plugin
from dregutil.clusters.kubeconfig import SERVICE_ACCOUNT, access_to
from dregutil.clusters.objects import HELM_RELEASES, HelmError, as_document
from dregutil.errors import RefusedError
from dregutil.registry.workers import for_each
from dregutil.retention.asked import Kubernetes
from dregutil.retention.in_use import ListFile
from dregutil.retention.list_tree import LONGEST

__all__ = ["read_clusters"]

_AT_ONCE = 8
_PAGE = 500  # objects, as kubectl asks for
_TIMES = 3  # that a list is begun, if its pages expire
_MOST_PAGES = 100_000


async def read_clusters(
    entry: Kubernetes, env: Mapping[str, str] = os.environ, service_account: Path = SERVICE_ACCOUNT
) -> list[ListFile]:
    """What each cluster of the section runs, and would run again.

    Raises RefusedError if a cluster does not answer, refuses one of the kinds, or has what cannot be read.
    """
    found = []
    for context in entry.contexts or (None,):
        access = await with_plugin(access_to(context, env, service_account), env)
        async with client_to(access) as client:
            text = await _Cluster(client, entry).text()
        found.append(ListFile(entry, text, timedelta(0), access.name))
    return found


class _Cluster:
    """Reads one cluster."""

    def __init__(self, client: Client, entry: Kubernetes) -> None:
        self.client = client
        self.entry = entry
        self._size = 0

    async def text(self) -> str:
        """All objects that can name images, as consecutive JSON documents."""
        kinds = await self._kinds()
        documents: dict[str, str] = {}

        async def read(kind: Kind) -> None:
            documents[kind.name] = await self._document(kind)

        await for_each(kinds, read, at_once=_AT_ONCE)
        return "\n".join(documents[kind.name] for kind in kinds)

    async def _kinds(self) -> list[Kind]:
        core = await self.client.get("the API versions", "/api")
        groups = await self.client.get("the API groups", "/apis")
        if not isinstance(core.get("versions"), list) or not isinstance(groups.get("groups"), list):
            raise self._refused("the API groups", "the answer is not that of a Kubernetes API server")
        found: dict[tuple[str, str], list[Kind]] = {}
        places = groups_in(core, groups, self.entry.ignore)

        async def discover(place: tuple[str, str]) -> None:
            group, version = place
            what = f"the kinds of {group or 'the core group'} {version}"
            answer = await self.client.get(what, group_path(group, version))
            if not isinstance(answer.get("resources"), list):
                raise self._refused(what, "the answer is not a list of kinds")
            found[place] = list(kinds_in(group, version, answer))

        await for_each(places, discover, at_once=_AT_ONCE)
        return to_ask([kind for place in places for kind in found[place]], self.entry.ignore)

    async def _document(self, kind: Kind) -> str:
        items = await self._items(kind)
        try:
            text = as_document(kind.name, items, finished=self.entry.finished)
        except HelmError as error:
            raise self._refused(kind.name, f"{error} is not a release as Helm 3 stores it") from error
        self._size += len(text)
        if self._size > LONGEST:
            raise self._refused(kind.name, f"all objects together are longer than {LONGEST:,} characters")
        return text

    async def _items(self, kind: Kind) -> list[Any]:
        """All objects of a kind. A list whose next page has expired is begun again.

        https://kubernetes.io/docs/reference/using-api/api-concepts/#retrieving-large-results-sets-in-chunks
        """
        for attempt in range(1, _TIMES + 1):
            try:
                return await self._pages(kind)
            except GoneError:
                if attempt == _TIMES:
                    raise
        raise AssertionError("unreachable")

    async def _pages(self, kind: Kind) -> list[Any]:
        items: list[Any] = []
        query = {"limit": str(_PAGE), **(HELM_RELEASES if kind.name == "secrets" else {})}
        before = ""
        for _ in range(_MOST_PAGES):
            page = await self.client.get(kind.name, kind.path, {**query, **({"continue": before} if before else {})})
            found, metadata = page.get("items", ""), page.get("metadata")
            if not isinstance(found, list | None) or not str(page.get("kind", "")).endswith("List"):
                raise self._refused(kind.name, "the answer is not a list")
            items += found or ()
            following = metadata.get("continue") if isinstance(metadata, dict) else None
            if not following:
                return items
            if following == before:
                break
            before = str(following)
        raise self._refused(kind.name, "its pages do not end")

    def _refused(self, what: str, why: str) -> RefusedError:
        return RefusedError(
            f"{self.client.access.name}: {what} cannot be read: {why}",
            advice="nothing was removed: without the cluster's answer, what is running might go",
        )
