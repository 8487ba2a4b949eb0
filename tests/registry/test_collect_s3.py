"""`collect` of a registry that keeps its storage in an S3 bucket, with both generations of collectors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dregutil.storage.opened import read_storage
from images import Pusher
from program import Program
from servers import find_program
from servers.s3 import S3Registry, S3Registry3, S3Server


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with S3Server(Path(tmp_path_factory.mktemp("s3"))) as found, pytest.MonkeyPatch.context() as patch:
        patch.delenv("AWS_CA_BUNDLE", raising=False)
        patch.setenv("OTEL_TRACES_EXPORTER", "none")
        for name, value in found.settings.items():
            patch.setenv(name, value)
        yield found


@pytest.fixture(params=[S3Registry, S3Registry3])
def server(request: pytest.FixtureRequest, s3: S3Server, tmp_path: Path) -> S3Registry:
    kind: type[S3Registry] = request.param
    try:
        find_program(*kind.program)
    except FileNotFoundError:
        pytest.skip(f"{kind.program[0]} was not built: ./test says why")
    return kind(tmp_path / "it", s3, f"collect-{kind.__name__.lower()}")


def collected(server: S3Registry, program: Program, *options: str) -> dict[str, Any]:
    words = [find_program(*server.program), "garbage-collect", str(server.configuration)]
    done = program.run("collect", "-y", "--format", "json", "--storage", server.place, *options, "--", *words)
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


def test_what_is_freed_in_a_bucket_is_as_predicted(server: S3Registry, tmp_path: Path) -> None:
    program = Program(server.url, tmp_path)
    with server, Pusher(server.url) as pusher:
        children = [pusher.push_image("shop/web", seed=f"child {number}") for number in range(2)]
        pusher.push_index("shop/web", "multi", children=children)
        for tag in ("1.0", "1.1"):
            pusher.push_image("shop/web", tag, seed=tag, layers=2)
        removed = program.run("remove-tags", "-r", "shop/web", "-t", "1.0", "-y")
        assert removed.returncode == 0, removed.stderr
    before = read_storage(server.place).blobs
    words = [find_program(*server.program), "garbage-collect", str(server.configuration)]
    young = program.run("collect", "-y", "--storage", server.place, "--", *words)
    assert (young.returncode, read_storage(server.place).blobs) == (5, before)
    found = collected(server, program, "--keep-undo", "0d")
    gone = {digest: size for digest, size in before.items() if digest not in read_storage(server.place).blobs}
    assert found["as_predicted"]
    assert found["freed"] == {"blobs": len(gone), "bytes": sum(gone.values())}
    assert len(gone) == 4
    assert found["runs"] == [program.runs[0].name]
    with server, Pusher(server.url) as pusher:
        left = read_storage(server.place).blobs.keys()
        for reference in ("1.1", *(child["digest"] for child in children)):
            manifest = json.loads(pusher.raw("shop/web", reference))
            assert {one["digest"] for one in (manifest["config"], *manifest["layers"])} <= left  # a GET is redirected
