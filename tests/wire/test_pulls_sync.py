"""What the API of a registry's service says of pulls is recorded, and shown by `pulls`, `why` and `ls`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import dregutil
from dregutil.errors import NoListingError
from dregutil.oci.names import Repository, Tag
from dregutil.pulls.pull import SourceKind
from native_access import hold_image
from servers import DistributionServer
from servers.native.zot import ZotServer

WEB = Repository("shop/web")


@pytest.fixture
def options(tmp_path: Path) -> dregutil.Options:
    return {"state_dir": tmp_path / "state", "contents": tmp_path / "contents.sqlite"}


async def test_what_zot_knows_is_recorded(options: dregutil.Options) -> None:
    with ZotServer() as server:
        one = hold_image(server, WEB, "1.0", seed="one")
        hold_image(server, WEB, "2.0", seed="two")
        server.pulled[one] = server.now
        async with dregutil.connect(server.url, **options) as registry:
            synced = await registry.sync_pulls()
            assert (synced.repositories, synced.pulls) == (1, 1)
            report = await registry.pulls("shop/web")
        pulls = {image.tag: image.pull for image in report.images}
        first = pulls[Tag("1.0")]
        assert first is not None
        assert first.at == server.now.replace(microsecond=0)
        assert first.source is SourceKind.SERVER
        assert pulls[Tag("2.0")] is None
        assert report.recorded_since is not None
        assert datetime.now(UTC) - report.recorded_since < timedelta(minutes=5)


async def test_a_service_without_pulls_is_no_evidence(options: dregutil.Options) -> None:
    with ZotServer((2, 1, 1)) as server:
        hold_image(server, WEB, "1.0", seed="one")
        async with dregutil.connect(server.url, **options) as registry:
            with pytest.raises(NoListingError, match="does not say when images were pulled"):
                await registry.sync_pulls()
            assert (await registry.pulls()).recorded_since is None


async def test_a_plain_registry_does_not_know(registry_server: DistributionServer, options: dregutil.Options) -> None:
    async with dregutil.connect(registry_server.url, **options) as registry:
        with pytest.raises(NoListingError, match="does not say"):
            await registry.sync_pulls()


async def test_why_and_ls_show_the_last_pull(options: dregutil.Options, tmp_path: Path) -> None:
    policy = tmp_path / "policy.yml"
    policy.write_text('version: 1\npolicies: [{name: p, repositories: ["**"], keep: {last: 1}}]\n')
    with ZotServer() as server:
        one = hold_image(server, WEB, "1.0", seed="one")
        async with dregutil.connect(server.url, **options) as registry:
            before = await registry.why(policy, "shop/web:1.0")
            assert "last pull" not in {factor.what for factor in before.factors}
            server.pulled[one] = datetime.now(UTC) - timedelta(days=12, hours=1)
            await registry.sync_pulls()
            found = await registry.why(policy, "shop/web:1.0")
            (text,) = (factor.text for factor in found.factors if factor.what == "last pull")
            assert text == f"12d ago (server since {datetime.now(UTC):%Y-%m-%d})"
            assert not any(factor.keeps for factor in found.factors if factor.what == "last pull")
