"""Lists of images to remove: which are refused, and what they name."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from dregutil.errors import RefusedError
from dregutil.oci.names import RegistryAddress, Repository, Tag
from dregutil.retention.doomed import names_image, read_doomed
from dregutil.retention.image_name import registry_hosts
from dregutil.retention.policy import DoomedList
from dregutil.retention.policyfile import read_policy
from dregutil.retention.read_lists import read_doomed_lists
from histories import digest_of

APP, ONE = Repository("app"), digest_of("one")
ENTRY = DoomedList("bad.txt", timedelta(hours=24))


def read(text: str, hours: int = 0, host: str = "registry.example.com") -> DoomedList:
    address = RegistryAddress.parse(host)
    return read_doomed(ENTRY, text, timedelta(hours=hours), registry_hosts(address, ("mirror.local",)), address)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("app:1.0", "line 1: 'app:1.0' has no repository with a digest"),
        (f"# x\napp@{ONE}\napp", "line 3: 'app' has no repository with a digest"),
        (str(ONE), "line 1: 'sha256:.* has no repository with a digest"),
        (f"app@{ONE} CVE-2026-1", "line 1: 'app@sha256:.* is no image"),
        ("app@sha256:12", "line 1: 'app@sha256:12' is no image"),
        ('[{"image": "app"}]', "is no image"),
    ],
)
def test_a_line_that_is_no_image_with_a_digest_refuses_the_run(text: str, told: str) -> None:
    with pytest.raises(RefusedError, match=told):
        read(text)


def test_a_list_that_is_too_old_refuses_the_run_and_an_empty_one_names_nothing() -> None:
    with pytest.raises(RefusedError, match=r"the list bad\.txt is 1d1h old, and max_age is 1d"):
        read("", 25)
    assert read("\n# nothing was found\n").images == frozenset()


def test_a_list_names_digests_and_tags_that_are_still_on_them() -> None:
    found = read(f"app@{ONE}\nmirror.local/app:b@{digest_of('two')}\nelsewhere.io/app@{digest_of('three')}")
    assert names_image(found, APP, Tag("a"), ONE)
    assert names_image(found, APP, None, ONE)
    assert not names_image(found, Repository("library/app"), Tag("a"), ONE)
    assert names_image(found, APP, Tag("b"), digest_of("two"))
    assert not names_image(found, APP, Tag("c"), digest_of("two"))
    assert not names_image(found, APP, Tag("b"), digest_of("four"))
    assert not names_image(found, APP, Tag("a"), digest_of("three"))
    assert not names_image(ENTRY, APP, Tag("a"), ONE)


def test_the_prefix_of_a_registry_is_no_part_of_its_repositories() -> None:
    found = read(f"h.example.com/docker/app@{ONE}\nh.example.com/app@{digest_of('two')}", host="h.example.com/docker")
    assert found.images == frozenset({(APP, None, ONE)})


def test_a_list_is_read_from_the_folder_of_the_policy(tmp_path: Path) -> None:
    policies = read_policy("version: 1\npolicies: [{name: p, repositories: [x], doomed: {file: bad.txt}}]")
    address = RegistryAddress.parse("registry.example.com")
    with pytest.raises(RefusedError, match=r"the list bad\.txt cannot be read"):
        read_doomed_lists(policies, tmp_path, address)
    (tmp_path / "bad.txt").write_text(f"app@{ONE}")
    ((entry,),) = (policy.doomed for policy in read_doomed_lists(policies, tmp_path, address).policies)
    assert entry.images == frozenset({(APP, None, ONE)})
