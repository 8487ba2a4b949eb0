"""ECR's own API: simulated (`servers/native/ecr.py` names the sources), and once as moto imitates it."""

from __future__ import annotations

import asyncio
import http.client
import json
import re
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from dregutil.errors import (
    DeniedError,
    NoListingError,
    OutcomeUnknownError,
    ProtocolError,
    PushedBackError,
    RegistryError,
    ThrottledError,
)
from dregutil.oci.listing import Listing
from dregutil.oci.names import Digest, RegistryAddress, Repository, Tag
from dregutil.registry.http import retry
from dregutil.registry.native import ecr, hosts
from dregutil.registry.native.ecr import Ecr, is_ecr
from dregutil.registry.native.hosts import other_host
from dregutil.registry.server_kind import Evidence
from images import CONFIG, IMAGE, LAYER
from native_access import access_to, entry, hold_image, hold_index
from servers.http import Answer
from servers.native.ecr import EcrServer, Key
from servers.s3 import S3Server

WEB = Repository("shop/web")
SECRET, TOKEN = "a secret key of AWS", "a temporary token of AWS/+="
HOST = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"


@pytest.fixture(autouse=True)
def aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Credentials of AWS in the environment, and nowhere else."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDTESTS")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[EcrServer]:
    with EcrServer() as found:
        name_api(monkeypatch, found.host)
        yield found


def name_api(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setattr(hosts, "OTHER_HOSTS", [(re.compile(re.escape(host)), f"http://{host}")])


@asynccontextmanager
async def service(server: EcrServer) -> AsyncIterator[Ecr]:
    async with access_to(server.url, "AWS", "a password for docker") as access:
        yield Ecr(access)


async def listed(server: EcrServer, repository: Repository = WEB) -> Listing:
    async with service(server) as found:
        return await found.listing(repository)


# --- reading


async def test_a_thousand_images_take_one_request(server: EcrServer) -> None:
    digests = {f"1.{number}": hold_image(server, WEB, f"1.{number}", seed=str(number)) for number in range(2100)}
    untagged = hold_image(server, WEB, seed="untagged")

    found = await listed(server)

    assert dict(found.tags) == digests
    assert entry(found, untagged).tags == ()
    assert found.is_complete
    assert found.has_untagged
    assert len(server.calls) == 3


async def test_an_image_has_what_ecr_says_of_it(server: EcrServer) -> None:
    child, other = hold_image(server, WEB, seed="a child"), hold_image(server, WEB, "2.0", seed="other")
    index = hold_index(server, WEB, "1.0", "stable", children=[child])
    server.pulled[WEB, index] = server.now.replace(microsecond=500000)

    found = await listed(server)

    one = entry(found, index)
    assert one.tags == ("1.0", "stable")
    assert one.media_type == "application/vnd.oci.image.index.v1+json"
    assert one.size == len(server.repositories[WEB].manifests[child].raw)
    assert one.pushed == server.now
    assert one.pulled == server.now.replace(microsecond=500000)
    assert one.children is None
    assert entry(found, other).pulled is None
    assert not found.has_pulls  # nothing says that an image without a time was never pulled
    assert "at most once a day" in found.doubts[0]


async def test_archived_images_are_listed(server: EcrServer) -> None:
    one = hold_image(server, WEB, "1.0", seed="one")
    server.archived.add(one)

    found = await listed(server)

    assert dict(found.tags) == {"1.0": one}
    assert any("archived" in doubt for doubt in found.doubts)


async def test_a_region_without_archives_is_asked_again(server: EcrServer) -> None:
    server.knows_status = False
    digests = {f"1.{number}": hold_image(server, WEB, f"1.{number}", seed=str(number)) for number in range(1100)}

    assert dict((await listed(server)).tags) == digests
    assert len(server.calls) == 3


async def test_a_registry_that_pushes_back_is_asked_later(server: EcrServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "_FIRST_WAIT", 0.001)
    one = hold_image(server, WEB, "1.0", seed="one")
    server.throttled = 3

    assert dict((await listed(server)).tags) == {"1.0": one}
    server.throttled = 100
    with pytest.raises(ThrottledError, match="because of its load"):
        await listed(server)


# --- the login


async def test_a_temporary_key_signs_with_its_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", TOKEN)
    with EcrServer(Key("AKIDTESTS", SECRET, TOKEN)) as server:
        name_api(monkeypatch, server.host)
        one = hold_image(server, WEB, "1.0", seed="one")
        assert dict((await listed(server)).tags) == {"1.0": one}


async def test_a_profile_signs(server: EcrServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_PROFILE", "work")
    keys = f"[work]\naws_access_key_id = AKIDTESTS\naws_secret_access_key = {SECRET}\n"
    (tmp_path / "AWS_SHARED_CREDENTIALS_FILE").write_text(keys)
    one = hold_image(server, WEB, "1.0", seed="one")

    assert dict((await listed(server)).tags) == {"1.0": one}


async def test_a_wrong_key_is_refused_and_no_secret_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", TOKEN)
    with EcrServer(Key("AKIDTESTS", "another secret key", TOKEN)) as server:  # its answer repeats the token
        name_api(monkeypatch, server.host)
        hold_image(server, WEB, "1.0", seed="one")
        with pytest.raises(NoListingError, match="The signature does not match") as refused:
            await listed(server)
    assert refused.value.is_everywhere
    assert TOKEN not in refused.value.message
    assert SECRET not in refused.value.message


async def test_without_credentials_of_aws_nothing_is_sent(server: EcrServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(NoListingError, match="needs credentials of AWS") as refused:
        await listed(server)
    assert "set AWS_PROFILE" in refused.value.message
    assert refused.value.is_everywhere
    assert server.calls == []


async def test_a_profile_that_does_not_exist_is_named(server: EcrServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "none")
    with pytest.raises(NoListingError, match="none"):
        await listed(server)


async def test_a_role_that_is_refused_says_so(server: EcrServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> None:
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": "no role for you"}}, "AssumeRole")

    monkeypatch.setattr("botocore.session.Session.get_credentials", refuse)
    with pytest.raises(NoListingError, match="no role for you") as refused:
        await listed(server)
    assert refused.value.is_everywhere


async def test_without_a_region_anywhere_nothing_is_sent(server: EcrServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    monkeypatch.delenv("AWS_REGION", raising=False)
    with pytest.raises(NoListingError, match="set AWS_DEFAULT_REGION"):
        await listed(server)
    assert server.calls == []


async def test_without_botocore_the_error_says_how_to_get_it(
    server: EcrServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "botocore"]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "botocore.session", None)
    with pytest.raises(NoListingError, match="needs botocore") as refused:
        await listed(server)
    assert "pip install 'docker-registry-util[aws]'" in refused.value.message
    assert refused.value.is_everywhere


async def test_a_key_without_the_right_and_an_unknown_repository_say_so(server: EcrServer) -> None:
    hold_image(server, WEB, "1.0", seed="one")
    with pytest.raises(NoListingError, match="does not exist") as unknown:
        await listed(server, Repository("shop/none"))
    assert not unknown.value.is_everywhere
    server.may = set()
    with pytest.raises(NoListingError, match="not authorized to perform: ecr:DescribeImages") as refused:
        await listed(server)
    assert not refused.value.is_everywhere
    async with service(server) as found:
        with pytest.raises(DeniedError, match="not authorized to perform: ecr:BatchDeleteImage"):
            await found.writing().delete_tag(WEB, Tag("1.0"))


# --- deleting


async def test_what_is_deleted_at_the_same_time_goes_in_batches_of_a_hundred(server: EcrServer) -> None:
    digests = [Digest(hold_image(server, WEB, f"1.{number}", seed=str(number))) for number in range(250)]
    stays = hold_image(server, WEB, "2.0", seed="stays")
    async with service(server) as found:
        writer = found.writing()
        assert all(await asyncio.gather(*(writer.delete_manifest(WEB, digest) for digest in digests)))

    assert server.repositories[WEB].tags == {"2.0": stays}
    assert [len(call["imageIds"]) for call in server.called("BatchDeleteImage")] == [100, 100, 50]


async def test_each_has_its_own_outcome(server: EcrServer) -> None:
    child = hold_image(server, WEB, seed="child")
    index = hold_index(server, WEB, "1.0", children=[child])
    one, two = hold_image(server, WEB, "2.0", seed="two"), hold_image(server, WEB, "3.0", seed="three")
    absent = f"sha256:{'0' * 64}"
    async with service(server) as found:
        writer = found.writing()
        outcomes = await asyncio.gather(
            *(writer.delete_manifest(WEB, Digest(digest)) for digest in (one, child, absent, two)),
            return_exceptions=True,
        )

    assert outcomes[0] is True
    assert isinstance(outcomes[1], RegistryError)
    assert outcomes[1].codes == {"ImageReferencedByManifestList"}
    assert "remove that first" in outcomes[1].advice
    assert outcomes[2:] == [False, True]
    assert server.repositories[WEB].tags == {"1.0": index}
    assert len(server.called("BatchDeleteImage")) == 1


async def test_tags_and_digests_of_two_repositories_are_kept_apart(server: EcrServer) -> None:
    one = hold_image(server, WEB, "1.0", "stable", seed="one")
    two = hold_image(server, "shop/db", "1.0", seed="two")
    other = hold_image(server, "shop/db", "2.0", seed="other")
    async with service(server) as found:
        writer = found.writing()
        done = await asyncio.gather(
            writer.delete_tag(WEB, Tag("1.0")),
            writer.delete_tag(WEB, Tag("none")),
            writer.delete_manifest(Repository("shop/db"), Digest(two)),
        )

    assert [*done] == [True, False, True]
    assert server.repositories[WEB].tags == {"stable": one}
    assert server.repositories["shop/db"].tags == {"2.0": other}
    assert len(server.called("BatchDeleteImage")) == 2


async def test_the_last_tag_takes_its_image_along(server: EcrServer) -> None:
    hold_image(server, WEB, "1.0", seed="one")
    async with service(server) as found:
        assert await found.writing().delete_tag(WEB, Tag("1.0"))
    assert server.repositories[WEB].manifests == {}


async def test_a_lost_answer_is_unknown_for_each_and_sent_once(server: EcrServer) -> None:
    digests = [Digest(hold_image(server, WEB, f"1.{number}", seed=str(number))) for number in range(3)]
    server.lost.add("BatchDeleteImage")
    async with service(server) as found:
        writer = found.writing()
        outcomes = await asyncio.gather(
            *(writer.delete_manifest(WEB, digest) for digest in digests), return_exceptions=True
        )
    assert [type(outcome) for outcome in outcomes] == [OutcomeUnknownError] * 3
    assert len(server.called("BatchDeleteImage")) == 1


@pytest.mark.parametrize(
    "body", [{}, {"imageIds": [], "failures": None}, {"imageIds": 1}, [], {"failures": [{"imageId": None}]}]
)
async def test_an_answer_that_names_nothing_leaves_the_outcome_unknown(
    server: EcrServer, monkeypatch: pytest.MonkeyPatch, body: object
) -> None:
    one = hold_image(server, WEB, "1.0", seed="one")
    monkeypatch.setattr(server, "_delete_one", lambda *_: "")
    text = json.dumps(body).encode()
    monkeypatch.setattr("servers.native.ecr._json", lambda _, status=200: Answer(status, text))
    async with service(server) as found:
        with pytest.raises(OutcomeUnknownError, match="does not say"):
            await found.writing().delete_manifest(WEB, Digest(one))


async def test_a_batch_that_did_not_begin_is_sent_again(server: EcrServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "_FIRST_WAIT", 0.001)
    one = hold_image(server, WEB, "1.0", seed="one")
    server.throttled = 2
    async with service(server) as found:
        writer = found.writing()
        assert await writer.delete_manifest(WEB, Digest(one))
        server.throttled = 1000
        monkeypatch.setattr(ecr, "_FRESH", 2.0)
        monkeypatch.setattr(ecr, "wait_before", lambda *_: 3.0)  # longer than that, and not waited for
        with pytest.raises(PushedBackError, match="nothing was deleted"):
            await writer.delete_manifest(WEB, Digest(one))
    assert len(server.called("BatchDeleteImage")) == 1


async def test_an_unknown_repository_has_nothing_to_delete(server: EcrServer) -> None:
    async with service(server) as found:
        assert not await found.writing().delete_tag(WEB, Tag("1.0"))


async def test_a_service_that_reads_cannot_delete(server: EcrServer) -> None:
    hold_image(server, WEB, "1.0", seed="one")
    async with service(server) as found:
        found.writing()
        with pytest.raises(ProtocolError, match="sends no POST"):
            await found.delete_tag(WEB, Tag("1.0"))
    assert server.calls == []


# --- the address


@pytest.mark.parametrize(
    ("host", "base"),
    [
        (HOST, "https://api.ecr.eu-west-1.amazonaws.com"),
        ("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn", "https://api.ecr.cn-north-1.amazonaws.com.cn"),
        ("123456789012.dkr.ecr-fips.us-east-1.amazonaws.com", "https://api.ecr-fips.us-east-1.amazonaws.com"),
        (f"{HOST}.evil.example", None),
        ("public.ecr.aws", None),
        (f"http://{HOST}", None),
    ],
)
def test_the_api_is_at_the_registry_s_region(host: str, base: str | None) -> None:
    address = RegistryAddress.parse(host)
    assert other_host(address) == base
    assert is_ecr(address, Evidence(address.host)) == (base is not None)


async def test_the_account_of_the_registry_is_named(server: EcrServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be another than that of the credentials; the region is that of the address as well."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setattr(hosts, "OTHER_HOSTS", [(re.compile(re.escape(HOST)), server.url)])
    one = hold_image(server, WEB, "1.0", seed="one")
    async with access_to(f"https://{HOST}") as access:
        assert dict((await Ecr(access).listing(WEB)).tags) == {"1.0": one}
    assert server.calls[0][1]["registryId"] == "123456789012"


# --- as moto imitates it


@pytest.fixture
def moto(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    with S3Server(tmp_path / "moto") as found:
        name_api(monkeypatch, found.host)
        yield found


def put(server: S3Server, operation: str, **body: object) -> None:
    connection = http.client.HTTPConnection(server.host, timeout=30)
    headers = {
        "X-Amz-Target": f"AmazonEC2ContainerRegistry_V20150921.{operation}",
        "Authorization": "AWS4-HMAC-SHA256 Credential=k/20260101/eu-west-1/ecr/aws4_request, SignedHeaders=",
    }
    connection.request("POST", "/", json.dumps(body), headers)
    assert connection.getresponse().status == 200
    connection.close()


async def test_moto_lists_and_deletes(moto: S3Server) -> None:
    """moto pages nothing and records no pulls; its answers are not ours."""
    put(moto, "CreateRepository", repositoryName=WEB)
    for seed, tag in (("one", "1.0"), ("one", "stable"), ("two", "2.0"), ("three", "3.0")):
        layer = {"mediaType": LAYER, "digest": f"sha256:{seed}", "size": 3}  # of which moto makes the digest
        config = {"mediaType": CONFIG, "digest": f"sha256:{'a' * 64}", "size": 2}
        manifest = {"schemaVersion": 2, "mediaType": IMAGE, "config": config, "layers": [layer]}
        put(moto, "PutImage", repositoryName=WEB, imageTag=tag, imageManifest=json.dumps(manifest))
    async with access_to(f"http://{moto.host}") as access:
        reader = Ecr(access)
        before = await reader.listing(WEB)
        writer = reader.writing()
        two = before.tags[Tag("2.0")]
        gone = await asyncio.gather(
            writer.delete_tag(WEB, Tag("1.0")),
            writer.delete_manifest(WEB, two),
            writer.delete_manifest(WEB, Digest(f"sha256:{'0' * 64}")),
        )
        after = await reader.listing(WEB)

    assert before.tags.keys() == {"1.0", "stable", "2.0", "3.0"}
    assert before.tags[Tag("1.0")] == before.tags[Tag("stable")]
    assert all(one.pushed is not None and one.media_type == IMAGE for one in before.entries)
    assert [*gone] == [True, True, False]
    assert after.tags.keys() == {"stable", "3.0"}
    with pytest.raises(NoListingError, match="shop/none"):
        async with access_to(f"http://{moto.host}") as access:
            await Ecr(access).listing(Repository("shop/none"))
