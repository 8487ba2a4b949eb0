"""Finding out whether a registry takes uploads leaves nothing behind, on each real server."""

from __future__ import annotations

from pathlib import Path

import pytest

from dregutil.apply.uploads import Uploads, uploads_answer
from dregutil.oci.names import Repository
from dregutil.registry.connect import connect
from images import Pusher
from servers import DistributionServer
from servers.real import KINDS

HERE, NOWHERE = Repository("shop/web"), Repository("dregutil-probe")


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.name != "server.log"}


@pytest.mark.parametrize("kind", KINDS)
async def test_nothing_is_left_behind(kind: str, tmp_path: Path) -> None:
    server = KINDS[kind].start(tmp_path / "it")
    with server:
        with Pusher(server.url) as pusher:
            pusher.push_image("shop/web", "1.0", seed="one")
        before = files(tmp_path)
        async with connect(server.url) as registry:
            there = await uploads_answer(registry, HERE, is_there=True)
            absent = await uploads_answer(registry, NOWHERE, is_there=False)
        left = files(tmp_path) - before
    assert there.uploads is Uploads.TAKEN
    if isinstance(server, DistributionServer):
        assert absent.uploads is Uploads.TAKEN
    assert left == set()


@pytest.mark.parametrize("kind", ["distribution-2.8", "distribution-3"])
async def test_a_read_only_registry_says_so(kind: str, tmp_path: Path) -> None:
    server = KINDS[kind].start(tmp_path / "it")
    assert isinstance(server, DistributionServer)
    text = server.configuration.read_text()
    server.configuration.write_text(text.replace("readonly: {enabled: false}", "readonly: {enabled: true}"))
    with server:
        async with connect(server.url) as registry:
            for name, is_there in ((HERE, True), (NOWHERE, False)):
                assert (await uploads_answer(registry, name, is_there=is_there)).uploads is Uploads.READ_ONLY
    async with connect(server.url) as registry:
        assert (await uploads_answer(registry, HERE, is_there=True)).uploads is Uploads.STOPPED
