"""A store as Parquet: what is in the files, on both dialects, and what is in their places when an export is cut off."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import threading
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from dregutil.errors import StoreError, UsageError
from dregutil.inventory.contents.database import ContentDatabase
from dregutil.journal.lines import EndLine, IntentLine, Line, OutcomeLine, RunLine, StepLine, encode_line
from dregutil.oci.manifest import OCI_INDEX, OCI_MANIFEST, parse_manifest
from dregutil.oci.names import Digest, Repository, Tag, registry_key
from dregutil.plan.file import PolicyEntry, encode_step
from dregutil.plan.model import Action, Step, StepKind
from dregutil.store.database import Database
from dregutil.store.parquet import export as exporting
from dregutil.store.parquet.export import export_parquet
from dregutil.store.parquet.partitions import segment
from dregutil.store.parquet.schema import TABLES, VERSION
from program import Program

REGISTRY = "registry.example.com:5000"
ODD = ("[::1]:5000/überall", "a%3Ab", "host:1/x=y", "docker.io", " spaced 'quoted\" \\ {x}^?*#", "..", "日本:443")


def digest(number: int) -> str:
    return f"sha256:{number:064x}"


def put_tags(database: Database, registry: str, *tags: tuple[str, str, str], gone: float | None = None) -> None:
    with database.transaction() as transaction:
        transaction.execute(
            "INSERT INTO inventory (registry, version, read_at) VALUES (:key, 1, 1700000000.25)"
            " ON CONFLICT (registry) DO NOTHING",
            {"key": registry},
        )
        columns = ("registry", "repository", "name", "digest", "came", "gone", "version")
        rows = [(registry, *one, 1_690_000_000.5, gone, 1) for one in tags]
        transaction.put("tag", columns[:3], columns, rows)


def ask(folder: Path, sql: str) -> list[tuple[Any, ...]]:
    """The rows of a query; `{tags}` is the table of tags."""
    tables = {
        one.name: f"read_parquet('{folder}/{one.name}/*/*/*.parquet', hive_partitioning = true)" for one in TABLES
    }
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        found: list[tuple[Any, ...]] = connection.execute(sql.format(**tables)).fetchall()
    return found


def test_tags_are_read_by_duckdb_and_pyarrow(database: Database, tmp_path: Path) -> None:
    put_tags(database, REGISTRY, ("shop/web", "1", digest(1)), ("shop/web", "2", digest(2)))
    put_tags(database, REGISTRY, ("shop/api", "1", digest(3)), gone=1_695_000_000.0)
    export_parquet(database, tmp_path / "lake")
    rows = ask(tmp_path / "lake", "SELECT registry, repository, tag, digest, gone IS NULL FROM {tags} ORDER BY ALL")
    assert rows == [
        (REGISTRY, "shop/api", "1", digest(3), False),
        (REGISTRY, "shop/web", "1", digest(1), True),
        (REGISTRY, "shop/web", "2", digest(2), True),
    ]
    found = ds.dataset(tmp_path / "lake" / "tags", partitioning="hive").to_table().to_pylist()
    first = next(one for one in found if one["repository"] == "shop/api")
    assert first["registry"] == REGISTRY
    assert first["came"] == datetime.fromtimestamp(1_690_000_000.5, UTC)
    assert first["gone"] == datetime.fromtimestamp(1_695_000_000, UTC)
    assert first["read_at"] == datetime.fromtimestamp(1_700_000_000.25, UTC)
    assert abs(date.fromisoformat(str(first["day"])) - datetime.now(UTC).date()) <= timedelta(days=1)


def test_names_come_back_from_folders(database: Database, tmp_path: Path) -> None:
    for name in ODD:
        put_tags(database, name, ("r", "t", digest(1)))
    export_parquet(database, tmp_path / "lake")
    assert {name for (name,) in ask(tmp_path / "lake", "SELECT registry FROM {tags}")} == set(ODD)
    found = ds.dataset(tmp_path / "lake" / "tags", partitioning="hive").to_table().to_pylist()
    assert {one["registry"] for one in found} == set(ODD)
    assert {one.name for one in (tmp_path / "lake").iterdir() if one.is_dir()} == {one.name for one in TABLES}


def test_what_spark_decodes_is_encoded_and_nothing_else() -> None:
    assert segment("registry", "host:5000") == "registry=host%3A5000"
    assert segment("registry", "übung/a=b") == "registry=übung%2Fa%3Db", "Spark reads %C3%BC as two characters"
    assert segment("registry", "") == "registry=__HIVE_DEFAULT_PARTITION__"


def test_the_schema_in_the_files_is_the_one_that_is_documented(database: Database, tmp_path: Path) -> None:
    put_tags(database, REGISTRY, ("r", "t", digest(1)))
    for one in export_parquet(database, tmp_path / "lake").files:
        schema = pq.read_schema(one.path)
        table = next(table for table in TABLES if table.name == one.table)
        assert schema.metadata[b"dregutil.schema"] == str(VERSION).encode()
        assert schema.names == [column.name for column in table.columns]
        assert [field.nullable for field in schema] == [column.may_be_null for column in table.columns]
    types = {str(field.type) for field in pq.read_schema(one.path)}
    assert types <= {"string", "int32", "int64", "bool", "timestamp[us, tz=UTC]", "list<element: string not null>"}


def test_manifests_and_layers_come_from_what_was_read(database: Database, tmp_path: Path) -> None:
    config = b'{"created": "2024-02-03T04:05:06Z", "os": "linux", "architecture": "arm64", "Env": ["KEY=s3cr3t"]}'
    of_config = Digest.of(config)
    image = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": {"digest": of_config, "size": 20, "mediaType": "application/vnd.oci.image.config.v1+json"},
            "layers": [
                {"digest": digest(8), "size": 300},
                {"digest": digest(9), "size": 1 << 62},
                {"digest": digest(10), "size": 7, "urls": ["https://x.invalid/"]},
            ],
        }
    ).encode()
    child = Digest.of(image)
    index = json.dumps(
        {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [{"digest": child, "size": 1}]}
    ).encode()
    top = Digest.of(index)
    manifests = [parse_manifest(image, OCI_MANIFEST, child), parse_manifest(index, OCI_INDEX, top)]
    with ContentDatabase.open(tmp_path / "contents.sqlite") as contents:
        contents.add(manifests, {of_config: config}, [])
    put_tags(
        database,
        REGISTRY,
        ("a", "1", top),
        ("a", "2", top),
        ("a", "c", child),
        ("a", "x", digest(99)),
        ("b", "1", child),
    )
    put_tags(database, REGISTRY, ("a", "old", digest(98)), gone=1.0)
    found = export_parquet(database, tmp_path / "lake", contents=tmp_path / "contents.sqlite")
    assert found.unknown == 1
    rows = ask(tmp_path / "lake", "SELECT repository, digest, kind, size, layers FROM {manifests}")
    assert {*rows} == {
        ("a", str(top), "index", len(index), 0),
        ("a", str(child), "image", len(image), 3),
        ("a", digest(99), None, None, None),
        ("b", str(child), "image", len(image), 3),
    }
    assert len(rows) == 4
    assert ask(
        tmp_path / "lake",
        "SELECT DISTINCT config, config_size, platform, created::VARCHAR FROM {manifests} WHERE kind = 'image'",
    ) == [(str(of_config), 20, "linux/arm64", "2024-02-03 04:05:06+00")]
    assert ask(tmp_path / "lake", "SELECT children FROM {manifests} WHERE kind = 'index'") == [([str(child)],)]
    layers = ask(tmp_path / "lake", "SELECT position, digest, size, is_foreign FROM {layers} WHERE repository = 'b'")
    assert layers == [(0, digest(8), 300, False), (1, digest(9), 1 << 62, False), (2, digest(10), 7, True)]
    assert all(b"s3cr3t" not in _texts(one.path) for one in found.files), "what is in a config stays there"


def _texts(path: Path) -> bytes:
    return repr(pq.read_table(path).to_pylist()).encode() + path.read_bytes()


def test_an_export_again_replaces_the_day(database: Database, tmp_path: Path) -> None:
    put_tags(database, REGISTRY, ("r", "1", digest(1)), ("r", "2", digest(1)))
    first = export_parquet(database, tmp_path / "lake")
    with database.transaction() as transaction:
        transaction.execute("DELETE FROM tag WHERE name = '2'")
    second = export_parquet(database, tmp_path / "lake")
    assert ask(tmp_path / "lake", "SELECT tag FROM {tags}") == [("1",)]
    assert {one.path for one in first.files} == {one.path for one in second.files}, "at midnight this is another day"


def test_files_are_for_their_owner_alone(database: Database, tmp_path: Path) -> None:
    put_tags(database, REGISTRY, ("r", "1", digest(1)))
    before = os.umask(0)
    try:
        export_parquet(database, tmp_path / "deep" / "lake")
    finally:
        os.umask(before)
    for one in (tmp_path / "deep").rglob("*"):
        assert stat.S_IMODE(one.stat().st_mode) == (0o700 if one.is_dir() else 0o600), one


def test_an_export_that_fails_leaves_what_was_there(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_tags(database, REGISTRY, ("r", "1", digest(1)))
    export_parquet(database, tmp_path / "lake")
    before = _everything(tmp_path / "lake")
    put_tags(database, REGISTRY, ("r", "2", digest(1)))
    put_tags(database, "other", ("r", "2", digest(1)))

    def fail(*_: object) -> None:
        raise StoreError("the store went away")

    monkeypatch.setattr(exporting, "_runs", fail)
    with pytest.raises(StoreError):
        export_parquet(database, tmp_path / "lake")
    assert _everything(tmp_path / "lake") == before
    monkeypatch.undo()
    with pytest.raises(UsageError, match="cannot be written"):
        export_parquet(database, Path("/dev/null/lake"))


def _everything(folder: Path) -> dict[Path, bytes]:
    return {one: b"" if one.is_dir() else one.read_bytes() for one in folder.rglob("*")}


_KILLED = """
import os, signal, sys
from pathlib import Path
from dregutil.store.address import StoreAddress
from dregutil.store.database import open_database
from dregutil.store.parquet import export, partitions

def killed(*_):
    os.kill(os.getpid(), signal.SIGKILL)

setattr(*{"runs": (export, "_runs"), "rename": (Path, "replace")}[sys.argv[3]], killed)
export.export_parquet(open_database(StoreAddress.parse(sys.argv[1])), Path(sys.argv[2]))
"""


@pytest.mark.parametrize("where", ["runs", "rename"])
def test_an_export_that_is_killed_leaves_no_half_file(
    database: Database, store_url: str, tmp_path: Path, where: str
) -> None:
    put_tags(database, REGISTRY, ("r", "1", digest(1)))
    export_parquet(database, tmp_path / "lake")
    put_tags(database, REGISTRY, ("r", "2", digest(1)))
    done = subprocess.run(
        [sys.executable, "-c", _KILLED, store_url, str(tmp_path / "lake"), where], capture_output=True, timeout=60
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert ask(tmp_path / "lake", "SELECT tag FROM {tags}") == [("1",)]
    assert list((tmp_path / "lake").rglob(".part*")), "what was being written"
    export_parquet(database, tmp_path / "lake")
    assert ask(tmp_path / "lake", "SELECT count(*) FROM {tags}") == [(2,)]
    assert not list((tmp_path / "lake").rglob(".part*"))


def test_a_link_of_another_user_is_not_followed(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_tags(database, REGISTRY, ("r", "1", digest(1)))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "lake").mkdir()
    (tmp_path / "lake" / "tags").symlink_to(tmp_path / "elsewhere")
    monkeypatch.setattr("dregutil.files.trusted_owners", lambda: frozenset({os.geteuid() + 1}))
    with pytest.raises(UsageError, match="link"):
        export_parquet(database, tmp_path / "lake")
    assert not list((tmp_path / "elsewhere").iterdir())


def put_run(database: Database, name: str, *lines: Line | bytes, fence: int | None = 7) -> None:
    """A run whose record has these lines, each a second after the one before."""
    with database.transaction() as transaction:
        values = {"name": name, "key": REGISTRY, "begun": 1_700_000_000.0}
        transaction.execute(
            "INSERT INTO run (name, number, registry, begun)"
            " SELECT :name, coalesce(max(number), 0) + 1, :key, :begun FROM run",
            values,
        )
        for n, line in enumerate(lines, 1):
            kind = "damaged" if isinstance(line, bytes) else str(line.__struct_config__.tag)
            transaction.execute(
                "INSERT INTO line (run, n, kind, step, fence, at, body)"
                " VALUES (:run, :n, :kind, :step, :fence, :at, :body)",
                {
                    "run": name,
                    "n": n,
                    "kind": kind,
                    "step": getattr(line, "step", None),
                    "fence": fence,
                    "at": 1_700_000_000.0 + n,
                    "body": line if isinstance(line, bytes) else encode_line(line),
                },
            )


def planned(number: int, because: str, *, needs: tuple[int, ...] = (), tags: tuple[str, ...] = ()) -> StepLine:
    step = Step(
        number,
        Action.DELETE,
        Repository("shop/web"),
        Digest(digest(number)),
        tuple(Tag(tag) for tag in tags),
        StepKind.IMAGE,
        because,
        needs=needs,
        frees=10 * number,
    )
    return StepLine(msgspec.Raw(encode_step(step)))


def intent(step: int) -> IntentLine:
    return IntentLine(step=step, repository="shop/web", tags=[], digest=digest(step), media_type="x", raw=b"{}")


HEADER = RunLine(
    version=1,
    run="r",
    registry=REGISTRY,
    started=datetime(2023, 11, 14, tzinfo=UTC),
    command="cleanup --policy p.yml",
    steps=3,
    reclaimable=1_000,
    exact=True,
    user="ada",
    host="laptop",
    policy=PolicyEntry("p.yml"),
)


def test_what_became_of_each_step(database: Database, tmp_path: Path) -> None:
    put_run(
        database,
        "r",
        HEADER,
        planned(1, "builds: too old", tags=("a", "b")),
        planned(2, "part of a", needs=(1,)),
        planned(3, "nightlies: too many", tags=("c",)),
        intent(1),
        OutcomeLine(1, "failed", "no answer"),
        intent(1),
        OutcomeLine(1, "removed"),
        intent(2),
        OutcomeLine(3, "left", "'c' is on another digest"),
        b"garbage\n",
        OutcomeLine(99, "removed"),
        OutcomeLine(2, "invented"),
    )
    export_parquet(database, tmp_path / "lake")
    steps = ask(
        tmp_path / "lake",
        "SELECT step, policy, tags, frees, outcome, epoch(intended) - 1.7e9, fence, why, epoch(settled) - 1.7e9"
        " FROM {steps} ORDER BY step",
    )
    assert steps == [
        (1, "builds", ["a", "b"], 10, "removed", 7.0, 7, None, 8.0),
        (2, "builds", [], 20, None, 9.0, 7, None, None),
        (3, "nightlies", ["c"], 30, "left", None, None, "'c' is on another digest", 10.0),
    ]
    assert ask(
        tmp_path / "lake",
        'SELECT actor, command, policy, steps, removed, "left", failed, unsettled, removed_tags, removed_manifests,'
        " frees, frees_is_exact, damaged, finished, day::VARCHAR FROM {runs}",
    ) == [
        ("ada@laptop", "cleanup --policy p.yml", "p.yml", 3, 1, 1, 0, 1, 2, 1, 10, False, 2, None, "2023-11-14"),
    ]


def test_a_whole_run_frees_what_its_plan_says(database: Database, tmp_path: Path) -> None:
    lines = [planned(n, "selected") for n in (1, 2, 3)], [OutcomeLine(n, "removed") for n in (1, 2, 3)]
    put_run(database, "r", HEADER, *lines[0], *lines[1], EndLine(datetime(2023, 11, 15, tzinfo=UTC)), fence=None)
    export_parquet(database, tmp_path / "lake")
    rows = ask(tmp_path / "lake", "SELECT frees, frees_is_exact, removed, finished::VARCHAR FROM {runs}")
    assert rows == [(1_000, True, 3, "2023-11-15 00:00:00+00")]
    times = ask(tmp_path / "lake", "SELECT DISTINCT settled, intended, fence, policy FROM {steps}")
    assert times == [(None, None, None, None)], "an imported record has no times of its own"


def test_one_registry_of_several(database: Database, tmp_path: Path) -> None:
    put_tags(database, "a", ("r", "1", digest(1)))
    put_tags(database, "b", ("r", "1", digest(1)))
    export_parquet(database, tmp_path / "lake", registry="b")
    assert ask(tmp_path / "lake", "SELECT DISTINCT registry FROM {tags}") == [("b",)]


def test_nobody_waits_for_a_snapshot_and_it_does_not_change(database: Database) -> None:
    put_tags(database, REGISTRY, ("r", "1", digest(1)))
    with database.snapshot() as transaction:
        assert transaction.rows("SELECT count(*) FROM tag") == [(1,)]
        other = threading.Thread(target=put_tags, args=(database, REGISTRY, ("r", "2", digest(1))))
        other.start()
        other.join(5)
        assert not other.is_alive()
        assert transaction.rows("SELECT count(*) FROM tag") == [(1,)]
        if database.is_postgresql:
            with pytest.raises(StoreError), database.snapshot() as second:
                second.execute("DELETE FROM tag")
    with database.snapshot() as transaction:
        assert transaction.rows("SELECT count(*) FROM tag") == [(2,)]


def test_the_command(database: Database, store_url: str, tmp_path: Path) -> None:
    put_tags(database, registry_key("127.0.0.1:1"), ("r", "1", digest(1)))
    program = Program("http://127.0.0.1:1", tmp_path)
    done = program.run("store", "export", "--parquet", "lake", "--store", store_url, "--format", "json")
    assert done.returncode == 0, done.stderr
    assert ask(tmp_path / "lake", "SELECT tag FROM {tags}") == [("1",)]
    assert '"table": "tags"' in done.stdout
    for words in (("check", "--parquet", "x"), ("export", "y", "--parquet", "x"), ("import", "x", "--parquet", "y")):
        refused = program.run("store", *words, "--store", store_url)
        assert refused.returncode == 2, refused.stderr
        assert "--parquet DIR" in refused.stderr
