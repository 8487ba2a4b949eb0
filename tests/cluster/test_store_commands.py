"""Commands with a shared store: each works on it, none on the state folder instead, and no password gets out."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from command_lines import CommandLines
from dregutil.store.address import StoreAddress
from dregutil.store.database import open_database
from dregutil.store.ledger import Ledger
from dregutil.store.migrations import NEWEST, migrate
from images import Pusher
from program import Program
from servers import DistributionServer, free_port
from servers.postgres import Postgres
from serving import Serving
from sharing import Machine


@pytest.fixture
def filled(pusher: Pusher) -> Pusher:
    for name in ("shop/web", "shop/api"):
        for tag in ("1.1", "1.2", "1.3"):
            pusher.push_image(name, tag, seed=f"{name} {tag}", config={"created": f"2025-0{tag[-1]}-03T10:00:00Z"})
    return pusher


def test_every_command_works_on_the_store_and_none_on_the_folder(
    store: str, registry_server: DistributionServer, filled: Pusher, tmp_path: Path
) -> None:
    """What one machine removes, the other one lists, explains, holds and puts back."""
    here, there = (
        Machine(registry_server.url, tmp_path / name, {"DREGUTIL_STORE": store}) for name in ("here", "there")
    )
    here.does("remove-tags", "-r", "shop/web", "-t", "1.1", "-y")
    here.does("cleanup", "-f", "policy.yml", "-y")
    first, second = (one["run"] for one in json.loads(there.does("history", "--format", "json")))
    assert "1.1" in there.does("history", first)
    for arguments in (
        ("ls",),
        ("list-repo-names",),
        ("list-tag-names", "shop/web"),
        ("query-tags", "-r", "shop/web", "-t", "1.3"),
        ("find", "shop/web:1.3"),
        ("inspect", "shop/web:1.3"),
        ("du",),
        ("refresh",),
        ("pulls",),
        ("why", "shop/web:1.3", "-f", "policy.yml"),
        ("hold", "shop/web:1.3"),
        ("doctor",),
        ("report", "-f", "policy.yml", "-o", "report.html"),
        ("undo", "--dry-run"),
        ("remove-tags", "-r", "shop/api", "-t", "1.3", "--dry-run"),
        ("cleanup", "-f", "policy.yml", "--dry-run"),
        ("policy", "check", "policy.yml", "--against", registry_server.url),
        ("apply", "--resume", second, "-y"),
    ):
        there.does(*arguments)
    there.does("undo", second, "-y")
    there.does("undo", first, "-y")
    assert sorted(filled.tags("shop/web")) == sorted(filled.tags("shop/api")) == ["1.1", "1.2", "1.3"]
    assert [one["undone"] for one in json.loads(here.does("history", "--format", "json"))][:2] == [True, True]
    here.does("history", "--prune", "0s")
    assert {one["undoes"] for one in json.loads(there.does("history", "--format", "json"))} == {first, second}
    assert here.local == there.local == set()


def test_the_registry_of_a_run_is_found_in_the_store(
    store: str, registry_server: DistributionServer, filled: Pusher, tmp_path: Path
) -> None:
    here, there = (
        Machine(registry_server.url, tmp_path / name, {"DREGUTIL_STORE": store}) for name in ("here", "there")
    )
    here.does("remove-tags", "-r", "shop/web", "-t", "1.1", "-y")
    (found,) = json.loads(there.does("history", "--format", "json"))
    command = there.program.command(("undo", found["run"], "-y", "--insecure"))
    at = command.index("-reg")
    environment = {**there.program.environment(), "DREGUTIL_STORE": store}
    done = subprocess.run(
        command[:at] + command[at + 2 :], env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "1.1" in filled.tags("shop/web")


def test_a_store_that_cannot_be_used_is_never_replaced_by_the_folder(
    postgres: Postgres, shared_url: str, registry_server: DistributionServer, filled: Pusher, tmp_path: Path
) -> None:
    secret = postgres.password
    machine = Machine(registry_server.url, tmp_path / "here", {"PGPASSWORD": ""})
    wrong = {
        "no tables": f"postgresql://postgres:{secret}@127.0.0.1:{postgres.port}/{shared_url.rpartition('/')[2]}",
        "wrong password": f"postgresql://postgres:not-{secret}@127.0.0.1:{postgres.port}/postgres",
        "wrong port": f"postgresql://postgres:{secret}@127.0.0.1:{free_port()}/postgres",
        "wrong database": f"postgresql://postgres:{secret}@127.0.0.1:{postgres.port}/nowhere",
        "wrong option": f"postgresql://postgres:{secret}@127.0.0.1:{postgres.port}/postgres?no=such",
        "wrong user": f"postgresql://nobody:{secret}@127.0.0.1:{postgres.port}/postgres",
        "not a URL": f"postgresql://postgres:{secret}/#@127.0.0.1:{postgres.port}/postgres",
        "no file": f"sqlite:///{tmp_path}/here/policy.yml/store",
    }
    before = filled.tags("shop/web")
    for what, url in wrong.items():
        for arguments in (
            ("remove-tags", "-r", "shop/web", "-t", "1.1", "-y"),
            ("cleanup", "-f", "policy.yml", "-y"),
            ("history",),
            ("undo", "-y"),
            ("store", "check"),
        ):
            done = machine.run(*arguments, "-l", "debug", DREGUTIL_STORE=url)
            if (what, arguments[0]) == ("no tables", "store"):
                assert done.returncode == 3
                continue
            assert done.returncode in ((4,) if what in ("wrong password", "wrong user") else (1, 2)), (
                what,
                arguments,
                done,
            )
            assert "Traceback" not in done.stderr, done.stderr
            assert secret not in done.stdout + done.stderr, (what, arguments)
            assert done.stderr.count("\ndregutil: ") + done.stderr.startswith("dregutil: ") >= 1
    assert filled.tags("shop/web") == before
    assert not _holding(tmp_path, secret)
    assert machine.local == set()


def test_the_password_is_in_nothing_that_is_written(
    postgres: Postgres, shared_url: str, registry_server: DistributionServer, filled: Pusher, tmp_path: Path
) -> None:
    secret = postgres.password
    url = shared_url.replace("postgres@", f"postgres:{secret}@")
    machine = Machine(registry_server.url, tmp_path / "here", {"DREGUTIL_STORE": url, "PGPASSWORD": ""})
    said = []
    for arguments in (
        ("store", "migrate"),
        ("remove-tags", "-r", "shop/web", "-t", "1.1", "-y"),
        ("cleanup", "-f", "policy.yml", "-y", "--report", "report", "--metrics", "metrics"),
        ("cleanup", "-f", "policy.yml", "--dry-run"),
        ("history",),
        ("history", "--format", "json"),
        ("undo", "-y"),
        ("undo", "--list"),
        ("config", "show"),
        ("config", "show", "--format", "json"),
        ("store", "check", "--format", "json"),
        ("store", "check"),
        ("store", "export", "copy"),
        ("store", "import", "copy"),
        ("report", "-o", "report.html"),
        ("doctor",),
    ):
        done = machine.run(*arguments, "-l", "debug")
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
        said.append(done.stdout + done.stderr)
    for arguments in (
        ("--store", url, "history"),
        (f"--store={url}", "history"),
        (f"--stor={url}", "history"),
        (f"--storey={url}", "cleanup"),
        ("history", url),
        ("remove-tags", "-r", "shop/web", "-t", url, "-y"),
        ("--config", url, "history"),
    ):
        done = machine.run(*arguments)
        assert done.returncode, arguments
        said.append(done.stdout + done.stderr)
    (machine.program.folder / "config.toml").write_text(f'store = "{url}"\n')
    done = machine.run("--config", "config.toml", "history", DREGUTIL_STORE="")
    assert (done.returncode, "config.toml:1: a password does not belong" in done.stderr) == (2, True)
    said.append(done.stdout + done.stderr)
    assert not [text for text in said if secret in text]
    (machine.program.folder / "config.toml").unlink()
    assert not _holding(tmp_path, secret)
    with postgres.connect(shared_url.rpartition("/")[2]) as connection:
        rows = connection.execute("SELECT convert_from(body, 'UTF8') FROM dregutil.line").fetchall()
        assert rows
        assert not [body for (body,) in rows if secret in body]


def test_no_process_has_the_password_on_its_command_line(
    postgres: Postgres, shared_url: str, registry_server: DistributionServer, filled: Pusher, tmp_path: Path
) -> None:
    """`serve` starts others: they get the address by an option, and the password by the environment."""
    _migrated(shared_url)
    program = Program(registry_server.url, tmp_path)
    environment = {
        "DREGUTIL_STORE": shared_url.replace("postgres@", f"postgres:{postgres.password}@"),
        "PGPASSWORD": "",
    }
    texts = (str(tmp_path), postgres.password)
    with Serving(program, ("--refresh-every", "0"), environment) as served, CommandLines(*texts) as lines:
        served.report()
        job = served.job(served.post("refresh"))
        assert job["state"] == "done", job
        assert served.get("runs").status == 200
    assert [line for line in lines.seen if "refresh" in line or "report" in line], lines.seen
    assert not [line for line in lines.seen if postgres.password in line]
    assert postgres.password not in served.log
    assert {path.name for path in program.state.iterdir()} == {"serve", "stores"}
    with (
        Serving(program, ("--store", shared_url), {"PGPASSWORD": postgres.password}) as served,
        CommandLines(*texts) as lines,
    ):
        served.job(served.post("refresh"))
    assert [line for line in lines.seen if f"--store={shared_url}" in line], lines.seen
    assert not [line for line in lines.seen if postgres.password in line]


def test_two_migrations_at_once_make_the_tables_once(shared_url: str, tmp_path: Path) -> None:
    program = Program("registry.example.com", tmp_path)
    arguments = ("store", "migrate", "--store", shared_url, "--format", "json")
    running = [program.start(*arguments) for _ in range(4)]
    found = []
    for one in running:
        out, errors = one.communicate(timeout=60)
        assert one.returncode == 0, errors
        found.append((json.loads(out)[0]["before"], json.loads(out)[0]["after"]))
    assert sorted(found) == [(0, NEWEST), *[(NEWEST, NEWEST)] * 3]


def test_check_exits_3_if_somebody_should_look(
    store: str, registry_server: DistributionServer, filled: Pusher, tmp_path: Path
) -> None:
    machine = Machine(registry_server.url, tmp_path / "here", {"DREGUTIL_STORE": store})
    assert "nothing waits" in machine.does("store", "check")
    machine.does("remove-tags", "-r", "shop/web", "-t", "1.1", "-y")
    assert "nothing waits" in machine.does("store", "check")
    database = open_database(StoreAddress.parse(store))
    ledger = Ledger(database)
    with database.transaction() as transaction:
        key = str(transaction.rows("SELECT key FROM registry")[0][0])
        transaction.execute("UPDATE run SET finished = FALSE")
    taken = ledger.claim_registry(key, key, "a worker", limit=1)
    assert taken is not None
    shown = machine.run("store", "check", "--format", "json")
    rows = {row["check"]: row["found"] for row in json.loads(shown.stdout)}
    assert shown.returncode == 0
    assert "held by a worker" in rows["lease"]
    assert "somebody is at work" in rows["run"]
    with database.transaction() as transaction:
        transaction.execute("UPDATE registry SET until = {now} - 5")
    database.close()
    done = machine.run("store", "check")
    assert done.returncode == 3, done.stdout
    assert "NOT RELEASED" in done.stdout
    assert "NOBODY is" in done.stdout


def test_a_store_without_tables_or_of_another_version_is_said_to_be_so(store_url: str, tmp_path: Path) -> None:
    machine = Machine("registry.example.com", tmp_path / "here", {"DREGUTIL_STORE": store_url})
    done = machine.run("store", "check")
    assert (done.returncode, "`dregutil store migrate` makes them" in done.stdout) == (3, True), done
    machine.does("store", "migrate")
    database = open_database(StoreAddress.parse(store_url))
    with database.transaction() as transaction:
        transaction.execute("INSERT INTO migration (number, name, at) VALUES (99, 'of the future', 0)")
    database.close()
    done = machine.run("store", "check")
    assert (done.returncode, "use a newer dregutil" in done.stdout) == (3, True), done
    assert machine.run("history").returncode == 1
    assert machine.run("store", "migrate").returncode == 1


def test_what_keeps_a_store_from_being_used_is_said_with_what_to_do(
    shared_url: str, postgres: Postgres, tmp_path: Path
) -> None:
    _migrated(shared_url)
    name = shared_url.rpartition("/")[2]
    password = {"PGPASSWORD": postgres.password}
    cases: tuple[tuple[str, dict[str, str], int, str, str], ...] = (
        (shared_url, {"PGPASSWORD": "wrong"}, 4, "password authentication failed", "DREGUTIL_STORE_PASSWORD_FILE"),
        (shared_url, {"PGPASSWORD": ""}, 4, "no password supplied", "PGPASSFILE"),
        (postgres.url_of("nosuch"), password, 1, "does not exist", "CREATE DATABASE nosuch"),
        (postgres.url_of(name, port=9), password, 1, "refused", "check that the database runs"),
        (f"{shared_url}?foo=bar", password, 1, "invalid URI query parameter", "postgresql://USER@HOST/DATABASE"),
    )
    machine = Machine("registry.example.com", tmp_path / "here", {})
    for url, environment, code, why, advice in cases:
        for command in (("history",), ("plans",), ("store", "check"), ("store", "migrate"), ("work", "pause")):
            done = machine.run(*command, DREGUTIL_STORE=url, **environment)
            message, what_to_do = done.stderr.splitlines()
            assert (done.returncode, why in message, advice in what_to_do) == (code, True, True), (command, done)
    right = {"DREGUTIL_STORE": shared_url, **password}
    with postgres.connect(name) as connection:
        connection.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    done = machine.run("work", "pause", **right)
    assert (done.returncode, "name the server that takes changes" in done.stderr) == (1, True), done
    with postgres.connect(name) as connection:
        connection.execute("SET default_transaction_read_only = off")
        connection.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
        connection.execute("DELETE FROM dregutil.migration WHERE number > 1")
    for command, code in ((("history",), 1), (("store", "check"), 3)):
        done = machine.run(*command, **right)
        assert (done.returncode, "brings them up to date" in done.stdout + done.stderr) == (code, True), done


def test_a_store_needs_a_name_and_a_folder(tmp_path: Path) -> None:
    machine = Machine("registry.example.com", tmp_path / "here", {})
    store = f"sqlite://{tmp_path}/store.sqlite"
    for arguments, said in (
        (("store", "check"), "no store was named"),
        (("store", "export", "--store", store), "needs a folder"),
        (("store", "check", "folder", "--store", store), "takes no folder"),
        (("store", "import", "folder", "run", "--store", store), "takes no runs"),
        (("store", "import", ".", "--store", store), "no tables yet"),
        (("history", "--store", "mysql://host/name"), "not reached by"),
    ):
        done = machine.run(*arguments)
        assert (done.returncode in (1, 2), said in done.stderr) == (True, True), done
    assert machine.run("history", "--store", "None").returncode == 0


def _migrated(url: str) -> None:
    database = open_database(StoreAddress.parse(url))
    migrate(database)
    database.close()


def _holding(folder: Path, secret: str) -> list[Path]:
    """The files under a folder that have a text in them."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return [path for path in files if secret.encode() in path.read_bytes()]
