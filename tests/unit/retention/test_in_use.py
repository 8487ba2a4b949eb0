"""Lists of images in use: every form is read completely, resolved, or refused."""

from __future__ import annotations

import contextlib
import json
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dregutil.errors import RefusedError
from dregutil.inventory.tags import Inventory
from dregutil.oci.names import Digest, RegistryAddress, Repository, Tag
from dregutil.report.cleanup import list_lines
from dregutil.retention.image_list import read_image_list
from dregutil.retention.image_name import registry_hosts
from dregutil.retention.in_use import ListFile, find_in_use, images_in
from dregutil.retention.policy import InUseList, ParsedProtect

D = Digest.of(b"x")


def names(text: str) -> set[str]:
    return {
        f"{image.host}/{image.repository}:{image.tag}" + (f"@{image.digest.short}" if image.digest else "")
        for entry in read_image_list(text, "list").understood
        for image in entry.names
    }


def pod(image: str, **more: Any) -> dict[str, Any]:
    return {"containers": [{"name": "c", "image": image}], **more}


def workload(kind: str, image: str, **spec: Any) -> dict[str, Any]:
    return {"kind": kind, "spec": {**spec, "template": {"spec": pod(image)}}}


def test_lines_of_text() -> None:
    text = (
        f"# from the cluster\nr.example.com/a:1  r.example.com/b@{D}\n\nnginx # short\ndocker-pullable://h:5000/c@{D}\n"
    )
    assert names(text) == {
        "r.example.com/a:1",
        f"r.example.com/b:None@{D.short}",
        "/nginx:latest",
        f"h:5000/c:None@{D.short}",
    }


def test_kubectl_output_for_every_kind_of_workload() -> None:
    items = [
        {
            "kind": "Pod",
            "spec": pod(
                "r.io/pod:1",
                initContainers=[{"image": "r.io/init:1"}],
                ephemeralContainers=[{"image": "r.io/debug:1"}],
                volumes=[{"name": "v", "image": {"reference": "r.io/volume:1"}}],
            ),
            "status": {"containerStatuses": [{"image": "r.io/pod:1", "imageID": f"r.io/pod@{D}"}]},
        },
        workload("Deployment", "r.io/scaled-down:1", replicas=0),
        workload("ReplicaSet", "r.io/rollback:1", replicas=0),
        workload("StatefulSet", "r.io/stateful:1"),
        workload("DaemonSet", "r.io/daemon:1"),
        workload("Job", "r.io/job:1"),
        {"kind": "CronJob", "spec": {"jobTemplate": {"spec": {"template": {"spec": pod("r.io/cron:1")}}}}},
        {"kind": "Rollout", "spec": {"deep": [{"template": {"spec": pod("r.io/unknown-kind:1")}}]}},
        {"kind": "HelmRelease", "spec": {"values": {"image": {"repository": "r.io/helm", "tag": "1"}}}},
    ]
    found = names(json.dumps({"kind": "List", "items": items}))
    kinds = [
        "pod",
        "init",
        "debug",
        "volume",
        "scaled-down",
        "rollback",
        "stateful",
        "daemon",
        "job",
        "cron",
        "unknown-kind",
        "helm",
    ]
    assert found == {*(f"r.io/{kind}:1" for kind in kinds), f"r.io/pod:None@{D.short}"}


def test_manifests_in_several_documents() -> None:
    text = """
apiVersion: v1
kind: Pod
spec: {containers: [{image: r.io/a:1.10}]}
---
apiVersion: apps/v1
kind: Deployment
spec: {template: {spec: {containers: [{image: 'r.io/b:1'}]}}}
---
"""
    assert names(text) == {"r.io/a:1.10", "r.io/b:1"}


def test_a_compose_file() -> None:
    text = "services:\n  web: {image: 'r.io/web:1'}\n  db:\n    image: postgres:16\n  own: {build: .}\n"
    assert names(text) == {"r.io/web:1", "/postgres:16"}


def test_several_outputs_of_kubectl_in_one_file() -> None:
    one = json.dumps({"items": [{"spec": pod("r.io/a:1")}]})
    assert names(f"{one}\n{one.replace('a:1', 'b:1')}") == {"r.io/a:1", "r.io/b:1"}


def test_yaml_aliases_are_walked_once() -> None:
    lines = ["kind: X", "l0: &l0 [{image: 'r.io/a:1'}]"]
    lines += [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 30)]
    assert names("\n".join(lines)) == {"r.io/a:1"}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "names no image"),
        ("# nothing\n", "names no image"),
        ('{"kind": "List", "items": []}', "names no image"),
        ('{"kind": "List", "items": [{"image": "r.io/a:1"}', "is truncated"),
        ("services:\n  web: {image: 'r.io/web:${TAG}'}\n", "contains a variable"),
        ("kind: Pod\nspec: {image: '{{ .Values.image }}'}\n", "contains a variable"),
        ("kind: [\n", "is not YAML"),
        ("r.io/a:1\nUPPER/case\n", "list:2: 'UPPER/case' is not an image"),
        ("[" * 5000, "is not JSON"),
    ],
)
def test_what_cannot_be_read_completely_is_refused(text: str, why: str) -> None:
    with pytest.raises(RefusedError) as failed:
        read_image_list(text, "list")
    assert why in failed.value.message
    assert failed.value.exit_code == 5


INVENTORY = Inventory(
    {
        Repository("shop/web"): {Tag("1.0"): D, Tag("latest"): D},
        Repository("library/nginx"): {Tag("latest"): D},
    }
)


def find(text: str, host: str = "registry.example.com", *aliases: str, age: float = 0, max_age: float = 60) -> Any:
    entry = InUseList("images.txt", timedelta(seconds=max_age))
    file, address = ListFile(entry, text, timedelta(seconds=age)), RegistryAddress.parse(host)
    images = images_in(file, registry_hosts(address, aliases))
    return find_in_use(ParsedProtect(aliases=aliases), [(file, images)], INVENTORY, address)


@pytest.mark.parametrize(
    ("text", "host", "aliases"),
    [
        ("registry.example.com/shop/web:1.0", "registry.example.com", ()),
        ("registry.example.com/shop/web:1.0", "https://Registry.example.com:443", ()),
        ("registry.example.com:5000/shop/web:1.0", "registry.example.com:5000", ()),
        ("shop/web:1.0", "registry.example.com", ()),
        ("other.example.com/shop/web:1.0", "registry.example.com", ("other.example.com",)),
        ("registry.example.com/team/shop/web:1.0", "https://registry.example.com/team", ()),
        ("nginx", "docker.io", ()),
        ("docker.io/nginx", "registry-1.docker.io", ()),
        ("nginx", "registry.example.com", ()),
        (str(D), "registry.example.com", ()),
        (f"registry.example.com/shop/web:gone@{D}", "registry.example.com", ()),
    ],
)
def test_an_image_of_this_registry_is_found(text: str, host: str, aliases: tuple[str, ...]) -> None:
    _, (report,) = find(text, host, *aliases)
    assert (report.images, report.matched) == (1, 1)


@pytest.mark.parametrize(
    "text",
    [
        "elsewhere.example.com/shop/web:1.0",
        "registry.example.com/shop/web:2.0",
        "registry.example.com:5000/shop/web:1.0",
    ],
)
def test_a_list_that_matches_nothing_in_this_registry_is_refused(text: str) -> None:
    with pytest.raises(RefusedError, match=r"names nothing that is in registry\.example\.com"):
        find(text)


def test_a_list_older_than_max_age_is_refused() -> None:
    assert find("shop/web:1.0", age=60)
    with pytest.raises(RefusedError, match="is 1h1m old, and max_age is 1h"):
        find("shop/web:1.0", age=3660, max_age=3600)


def test_entries_missing_from_this_registry_are_reported() -> None:
    _, (report,) = find("registry.example.com/shop/web:1.0 registry.example.com/shop/web:2.0 quay.io/x/y:1")
    assert (report.images, report.matched, report.absent) == (3, 1, ("shop/web:2.0",))
    assert report.elsewhere == ()


def test_an_image_that_is_here_under_the_name_of_another_host_is_reported() -> None:
    """That host may be a name of this registry that is missing in `aliases`."""
    _, (report,) = find("registry.example.com/shop/web:1.0 other.example.com/shop/web:1.0 other.example.com/shop/web:7")
    assert (report.matched, report.elsewhere) == (1, ("other.example.com/shop/web:1.0",))
    assert "which may be missing in aliases, and here as well: 1: other" in "\n".join(list_lines([report]))


@pytest.mark.property
@given(st.text(max_size=100) | st.text('{}[]:"-& *imagekind\n ,abc/@$', max_size=80))
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(RefusedError):
        assert read_image_list(text, "list").entries
