"""A bad network in front of the real registry: nothing that stays is damaged, runs end soon, and report what happened.

An independent reader that bypasses the proxy checks the registry after each run.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from dregutil.journal.reader import read_journal
from images import Pusher
from program import Program
from servers import DistributionServer
from servers.faults import FAULTS, Fault, FaultyProxy
from servers.http import LOST, Answer, Request

REPOSITORY = "shop/web"
SOON = ("--timeout", "0.5", "--concurrency", "4")
QUERY = (*SOON, "--format", "json", "query-tags", "-r", REPOSITORY, "-re", ".")
REMOVE = (*SOON, "remove-tags", "-r", REPOSITORY, "-t", "<2")
IS_LONG = "DREGUTIL_LONG" in os.environ
SOME = FAULTS if IS_LONG else ("reset after", "half a body", "another digest")
OF_DELETE = ("reset before", "stalled", "500", "429") if IS_LONG else ()
REMOVALS = [
    *((fault, "some") for fault in SOME),
    *((fault, "the first delete") for fault in ("reset after", "late", "500 after", *OF_DELETE)),
]
# Those that cause no timeout.
QUICK = ["reset before", "reset after", "half a body", "altered bytes", "another digest", "500", "500 after", "502"]
STAY = {"keep", "stable", "2.0"}


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program("", tmp_path)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry's storage: images, an index with its own children and one that stays, a signature, shared tags."""
    folder = tmp_path_factory.mktemp("filled")
    with DistributionServer(folder) as server:
        pusher = Pusher(server.url)
        for number in range(3):
            pusher.push_image(REPOSITORY, f"1.{number}", seed=f"image {number}")
        pusher.push_image(REPOSITORY, "1.3", "stable", seed="shared")
        children = [pusher.push_image(REPOSITORY, seed=f"child {number}") for number in range(3)]
        index = pusher.push_index(REPOSITORY, "1.4", "1.5", children=children[:2])
        pusher.push_index(REPOSITORY, "keep", children=children[1:])
        pusher.push_image(REPOSITORY, f"sha256-{index['digest'][7:]}.sig", seed="signature")
        pusher.push_image(REPOSITORY, "2.0", seed="two")
        pusher.close()
    return folder / "storage"


@pytest.fixture
def reader(server: DistributionServer) -> Iterator[Reader]:
    found = Reader(server)
    yield found
    found.pusher.close()


@pytest.fixture
def server(filled: Path, tmp_path: Path) -> Iterator[DistributionServer]:
    with _copy(filled, tmp_path / "registry") as found:
        yield found


def _copy(filled: Path, folder: Path) -> DistributionServer:
    found = DistributionServer(folder)
    shutil.copytree(filled, found.storage)
    return found


class Reader:
    """Reads the registry, bypassing the proxy."""

    def __init__(self, server: DistributionServer) -> None:
        self.pusher = Pusher(server.url)
        self.before = self.tags()

    def tags(self) -> dict[str, str]:
        return self.pusher.tags(REPOSITORY)

    def check_what_stays(self) -> None:
        here = self.tags()
        for tag in STAY:
            assert here.get(tag) == self.before[tag], tag
            assert self.pusher.is_whole(REPOSITORY, tag), tag


def _every(number: int, *methods: str) -> Callable[[int, Request], bool]:
    """Every n-th exchange of these methods (of any without methods), but never the first."""
    return lambda count, request: count > 1 and count % number == 0 and (not methods or request.method in methods)


def _never(_: int, __: Request) -> bool:
    return False


def _from_delete(number: int) -> Callable[[int, Request], bool]:
    """Everything, from the n-th DELETE on."""
    seen: list[str] = []

    def breaks(_: int, request: Request) -> bool:
        seen.extend([request.reference] if request.method == "DELETE" else [])
        return len(seen) >= number

    return breaks


def _once(*methods: str) -> Callable[[int, Request], bool]:
    """The first exchange of these methods about a digest that exists, so not the preflight."""
    seen: list[str] = []

    def breaks(_: int, request: Request) -> bool:
        if request.method not in methods or "/manifests/" not in request.path:
            return False
        seen.append(request.reference)
        return len(seen) == (2 if request.method == "DELETE" else 1)

    return breaks


def _is_told(errors: str) -> bool:
    """An error is one line that says what happened, and at most one more that says what to do."""
    return "Traceback" not in errors and errors.strip() != ""


@pytest.mark.parametrize("fault", sorted(FAULTS.keys() - {"late"}))
def test_a_crawl(fault: str, server: DistributionServer, reader: Reader, program: Program) -> None:
    """What is read is true; what could not be read is reported."""
    with FaultyProxy(server.port, FAULTS[fault], _every(7)) as proxy:
        found = Program(proxy.url, program.folder).run(
            *SOON, "--format", "json", "query-tags", "-r", REPOSITORY, "-re", "."
        )
        assert proxy.broken
    listed = {tag: entry["digest"] for entry in json.loads(found.stdout or "[]") for tag in entry["tags"]}
    if found.returncode == 0:
        assert {tag for tag in listed if not tag.startswith("sha256-")} == {
            tag for tag in reader.before if not tag.startswith("sha256-")
        }
    else:
        assert _is_told(found.stderr)
    assert all(reader.before[tag] == digest for tag, digest in listed.items())


@pytest.mark.property
@pytest.mark.parametrize(("fault", "breaks"), REMOVALS)
def test_a_removal_and_its_resumption_and_undo(
    fault: str, breaks: str, server: DistributionServer, reader: Reader, program: Program
) -> None:
    picks = _every(6) if breaks == "some" else _once("DELETE")
    with FaultyProxy(server.port, FAULTS[fault], picks) as proxy:
        here = Program(proxy.url, program.folder)
        found = here.run(*REMOVE)
        assert proxy.broken
        proxy.heal()
        _check_run(reader, here, found.returncode, found.stderr)


@pytest.mark.property
@pytest.mark.parametrize("fault", FAULTS if IS_LONG else ["reset after"])
def test_a_resumption(fault: str, server: DistributionServer, reader: Reader, program: Program) -> None:
    """A run that was interrupted by a first fault is resumed with faults."""
    with FaultyProxy(server.port, FAULTS["reset before"], _from_delete(3)) as proxy:
        here = Program(proxy.url, program.folder)
        assert here.run(*REMOVE).returncode != 0
        proxy.heal()
        proxy.fault, proxy.breaks = FAULTS[fault], _every(6)
        found = here.run(*SOON, "apply", "--resume", here.runs[0].name, "-y")
        proxy.heal()
        _check_run(reader, here, found.returncode, found.stderr)


@pytest.mark.property
@pytest.mark.parametrize("fault", FAULTS if IS_LONG else ["half a body"])
def test_an_undo(fault: str, server: DistributionServer, reader: Reader, program: Program) -> None:
    with FaultyProxy(server.port, FAULTS[fault], _never) as proxy:
        here = Program(proxy.url, program.folder)
        assert here.run(*REMOVE).returncode == 0
        proxy.breaks = _every(6)
        found = here.run(*SOON, "undo", "-y")
        assert proxy.broken
        proxy.heal()
        reader.check_what_stays()
        assert _is_told(found.stderr)
        _undo_wholly(reader, here)


@pytest.mark.parametrize("moment", ["/tags/", "/manifests/"])
def test_the_server_is_restarted_while_it_is_read(
    moment: str, server: DistributionServer, reader: Reader, program: Program
) -> None:
    with FaultyProxy(
        server.port, _restarting(server), _at("/manifests/" if moment == "a manifest" else "/tags/")
    ) as proxy:
        found = Program(proxy.url, program.folder).run(*QUERY)
        assert proxy.broken
    listed = {tag: entry["digest"] for entry in json.loads(found.stdout) for tag in entry["tags"]}
    assert found.returncode == 0
    assert listed == {tag: digest for tag, digest in reader.before.items() if not tag.startswith("sha256-")}


def test_the_server_is_restarted_while_it_deletes(server: DistributionServer, reader: Reader, program: Program) -> None:
    with FaultyProxy(server.port, _restarting(server), _once("DELETE")) as proxy:
        here = Program(proxy.url, program.folder)
        found = here.run(*REMOVE)
        assert proxy.broken
        proxy.heal()
        reader.pusher.close()
        _check_run(reader, here, found.returncode, found.stderr)


def test_an_unanswered_check_is_not_an_outcome(server: DistributionServer, reader: Reader, program: Program) -> None:
    """The DELETE was accepted; whether the manifest is gone is unknown, and the record does not say that it failed."""
    deleted: set[str] = set()

    def breaks(_: int, request: Request) -> bool:
        if request.method == "DELETE":
            deleted.add(request.reference)
        return request.method != "DELETE" and request.reference in deleted and not proxy.broken

    with FaultyProxy(server.port, FAULTS["500"], breaks) as proxy:
        here = Program(proxy.url, program.folder)
        found = here.run(*REMOVE)
        proxy.heal()
        assert (found.returncode, "status 500" in found.stderr) == (3, True), found.stderr
        assert len(read_journal(here.runs[0]).open_intents) == 1
        reader.check_what_stays()
        _undo_wholly(reader, here)


def test_an_unknown_host_name(program: Program) -> None:
    for url in ("http://registry.invalid", "https://registry.invalid"):
        found = Program(url, program.folder).run(*REMOVE)
        assert found.returncode == 6
        assert "no address found for registry.invalid" in found.stderr


@pytest.mark.property
@settings(max_examples=100 if IS_LONG else 3, phases=(Phase.generate,))
@given(schedule=st.dictionaries(st.integers(2, 90), st.sampled_from(QUICK), min_size=1, max_size=12))
def test_any_schedule_of_faults(schedule: dict[int, str], filled: Path) -> None:
    with tempfile.TemporaryDirectory() as name, _copy(filled, Path(name) / "registry") as server:
        reader = Reader(server)
        faults = iter(FAULTS[schedule[number]] for number in sorted(schedule))
        with FaultyProxy(server.port, lambda *seen: next(faults)(*seen), lambda count, _: count in schedule) as proxy:
            here = Program(proxy.url, Path(name))
            found = here.run(*REMOVE)
            proxy.heal()
            _check_run(reader, here, found.returncode, found.stderr)
        reader.pusher.close()


def _restarting(server: DistributionServer) -> Fault:
    def restart(_: FaultyProxy, __: Request) -> Answer:
        server.stop()
        server.start()
        return LOST

    return restart


def _at(part: str) -> Callable[[int, Request], bool]:
    """The first exchange about this part of the API."""
    seen: list[str] = []

    def breaks(_: int, request: Request) -> bool:
        seen.extend([request.path] if part in request.path else [])
        return part in request.path and len(seen) == 1

    return breaks


def _check_run(reader: Reader, program: Program, code: int, errors: str) -> None:
    """After a run, what stays is complete; resumed without faults it ends, and its undo restores everything."""
    reader.check_what_stays()
    assert _is_told(errors)
    if code == 0 and "left" not in errors:
        assert not {"1.0", "1.1", "1.2", "1.4", "1.5"} & set(reader.tags()), errors
    if not program.runs:
        assert reader.tags() == reader.before
        return
    if program.history()[0]["unfinished"]:
        resumed = program.run(*SOON, "apply", "--resume", program.runs[0].name, "-y")
        assert resumed.returncode == 0, resumed.stderr
        reader.check_what_stays()
    _undo_wholly(reader, program)


def _undo_wholly(reader: Reader, program: Program) -> None:
    undone = program.run(*SOON, "undo", program.runs[0].name, "-y")
    assert undone.returncode == 0, undone.stderr
    assert reader.tags() == reader.before
    assert all(reader.pusher.is_whole(REPOSITORY, tag) for tag in reader.before)
