from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from chromium import browser
from configured import Guarded, Machine
from images import Pusher
from servers import DistributionServer
from servers.real import KINDS

if TYPE_CHECKING:
    from playwright.sync_api import Browser

settings.register_profile("short", deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
settings.register_profile(
    "long",
    deadline=None,
    max_examples=int(os.environ.get("DREGUTIL_LONG", "2000")),
    suppress_health_check=list(HealthCheck),
)
settings.load_profile("long" if "DREGUTIL_LONG" in os.environ else "short")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """A skipped test is a failed one where nothing may be skipped: a program that it needs is not there."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined] # pluggy's result, as a wrapper receives it
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("DREGUTIL_SKIP_NOTHING"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped: {report.longrepr[2]}"


@pytest.fixture(autouse=True)
def state_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test writes to the state or cache folder of the user who runs it, or reads that user's configuration."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("DREGUTIL_CONFIG", raising=False)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--server", help="a real server of tests/servers/real.py in place of distribution 2.8")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that is marked `every_server` runs on each real server; one that is marked `only_on`, on those alone."""
    every, only = (metafunc.definition.get_closest_marker(name) for name in ("every_server", "only_on"))
    if every is None or "registry_server" not in metafunc.fixturenames or metafunc.config.getoption("--server"):
        return
    names = KINDS if only is None else only.args
    metafunc.parametrize("registry_server", names, indirect=True)


@pytest.fixture
def registry_server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[DistributionServer]:
    """A real registry, empty, with deletion enabled."""
    chosen = getattr(request, "param", None) or request.config.getoption("--server")
    kind = KINDS[chosen or "distribution-2.8"]
    with kind.start(tmp_path / "registry") as server:
        yield server  # type: ignore[misc]


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Not for longer than a module: while it runs, no test of this thread can start an event loop."""
    with browser(tmp_path_factory.mktemp("chromium")) as found:
        yield found


@pytest.fixture
def pusher(registry_server: DistributionServer) -> Iterator[Pusher]:
    with Pusher(registry_server.url) as found:
        yield found


@pytest.fixture
def guarded() -> Iterator[Guarded]:
    with Guarded() as found:
        pusher = Pusher(found.url)
        pusher.push_image("shop/web", "1.0", seed="one")
        pusher.push_image("shop/web", "2.0", seed="two")
        pusher.close()
        yield found


@pytest.fixture
def machine(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Machine:
    for name in ("REGISTRY", "REQUESTS_CA_BUNDLE", "NO_COLOR", "REGISTRY_USER", "REGISTRY_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    found = Machine(tmp_path, capsys)
    monkeypatch.chdir(found.here)
    return found
