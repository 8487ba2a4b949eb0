"""How `dregutil serve` may be started, and what it refuses."""

from __future__ import annotations

import select
import shlex
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from documents import commands
from dregutil.cli import run
from listening import until
from program import Program
from serving import Serving, sent

NOBODY = "http://127.0.0.1:1"
_START = ("serve", "--addr", "127.0.0.1:0")
PROXY = ("--user-header", "X-User", "--trusted-proxy", "127.0.0.0/30", "--viewer", "*", "--approver", "anna")


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ("--addr 0.0.0.0:0", "others could reach this"),
        ("--addr [::]:0", "others could reach this"),
        ("--addr registry.example.com:0", "others could reach this"),
        ("--addr 127.0.0.1", "not an address"),
        ("--addr 127.0.0.1:99999", "not an address"),
        ("--user-header X-User --viewer *", "--trusted-proxy"),
        ("--user-header X-User --trusted-proxy 127.0.0.1", "nobody may look"),
        ("--user-header X-User --trusted-proxy 127.0.0.1/33 --viewer *", "not an address"),
        ("--user-header X:User --trusted-proxy 127.0.0.1 --viewer *", "not the name of a header"),
        ("--trusted-proxy 127.0.0.1", "without --user-header"),
        ("--viewer anna", "without --user-header"),
        ("--approvals 2", "without --user-header"),
        ("--approvals 0", "at least one person"),
        (" ".join([*PROXY, "--approvals", "2"]), "never reached: --approver names 1 person"),
        (" ".join([*PROXY, "--approver", "Anna", "--approver", "anna", "--approvals", "2"]), "names 1 person"),
        (" ".join([*PROXY, "--approver", "bob", "--approvals", "3"]), "names 2 people"),
        ("--user-header X-User --trusted-proxy 127.0.0.1 --viewer * --approvals 2", "names 0 people"),
        ("--refresh-every soon", "soon"),
        ("--host registry.example.com:443", "not a name"),
        ("--host https://registry.example.com", "not a name"),
        ("--repositories-from -", "standard input"),
        ("--user-header= ", "empty name"),
    ],
)
def test_what_would_not_be_safe_or_clear_is_refused(
    options: str, why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run(["-reg", NOBODY, "-c", "None", "--state-dir", str(tmp_path), "serve", *options.split()])
    assert code == 2
    assert why in capsys.readouterr().err


def test_everyone_may_be_enough_approvers(tmp_path: Path) -> None:
    options = (*PROXY[:-1], "*", "--approvals", "3")
    with Serving(Program(NOBODY, tmp_path), options) as serving:
        assert serving.get("session", X_User="eve").json["approvals"] == 3


@pytest.mark.parametrize(
    ("text", "why"), [(None, "cannot be read"), ("policies: [", "policy.yml:1:"), ("{}", "policy.yml")]
)
def test_a_policy_that_cannot_be_used_is_refused_at_the_start(text: str | None, why: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "policy.yml").write_text(text)
    program = Program(NOBODY, tmp_path)
    found, usual = (program.run(*words, "-f", "policy.yml") for words in (_START, ("cleanup",)))
    assert (found.returncode, usual.returncode) == (2, 2)
    assert why in found.stderr
    assert found.stderr == usual.stderr


def test_a_job_that_fails_is_said_once_on_one_line(tmp_path: Path) -> None:
    with Serving(Program(NOBODY, tmp_path)) as serving:
        for _ in range(2):
            assert serving.job(serving.post("refresh"))["state"] == "failed"
        until(serving.jobs_have_ended)
        said = [line for line in serving.log.splitlines() if " refresh failed: " in line]
    assert len(said) == 1
    assert said[0].startswith("dregutil: refresh failed: ")
    assert "127.0.0.1:1" in said[0]


def test_a_port_that_is_taken_is_said(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        found = Program(NOBODY, tmp_path).run("serve", "--addr", address)
    assert found.returncode == 2
    advice = "  choose another one with --addr"
    assert found.stderr == f"dregutil: cannot listen on {address}: Address already in use\n{advice}\n"


def test_one_serve_runs_for_a_registry_and_its_files_are_for_its_owner_alone(tmp_path: Path) -> None:
    program = Program(NOBODY, tmp_path)
    with Serving(program, ("--refresh-every", "0")):
        again = program.run("serve", "--addr", "127.0.0.1:0")
        assert again.returncode == 5, again.stderr
        assert "another `dregutil serve` is running" in again.stderr
        for path in (program.state / "serve").rglob("*"):
            mode = stat.S_IMODE(path.stat().st_mode)
            assert mode & 0o077 == 0, f"{path} {mode:o}"


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP"])
def test_a_signal_ends_it_in_good_order(name: str, tmp_path: Path) -> None:
    one = signal.Signals[name]
    before = signal.signal(one, signal.SIG_DFL)  # whatever the tests were started with
    try:
        serving = Serving(Program(NOBODY, tmp_path), ("--refresh-every", "0"))
        serving.start()
        assert serving.end(one) == 0
    finally:
        signal.signal(one, before)
    assert "Traceback" not in serving.log


@pytest.mark.parametrize("ignored", [(), (signal.SIGINT, signal.SIGHUP)])
def test_a_job_that_waits_for_the_registry_does_not_delay_the_end(
    ignored: tuple[signal.Signals, ...], tmp_path: Path
) -> None:
    """Also where signals were ignored when it was started: by nohup, or by a shell that starts it in the background."""
    before = {one: signal.signal(one, signal.SIG_IGN) for one in ignored}
    try:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            serving = Serving(Program(f"http://127.0.0.1:{silent.getsockname()[1]}", tmp_path))
            serving.start()
            until(lambda: has_asked(silent))
            for one in ignored:
                assert serving.process is not None
                serving.process.send_signal(one)
                assert serving.get("session").status == 200, "it is ignored"
            started = time.monotonic()
            assert serving.end() == 0, serving.log
            assert time.monotonic() - started < 15
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def has_asked(server: socket.socket) -> bool:
    """Whether a connection waits to be accepted."""
    return bool(select.select([server], [], [], 0)[0])


def test_behind_a_proxy_no_token_is_printed_and_roles_are_those_of_the_options(tmp_path: Path) -> None:
    hosts = ("--host", "pages.example.com", "--host", "[fd00::1]")
    with Serving(Program(NOBODY, tmp_path), (*PROXY, "--approver", "bob", *hosts, "--approvals", "2")) as serving:
        for host in ("pages.example.com:8443", "[fd00::1]:8090", "fd00::1"):
            is_ours = host != "fd00::1"
            assert (serving.get("session", X_User="anna", Host=host).status == 200) == is_ours
        assert "token" not in serving.log
        assert "the proxy leads there" in serving.log
        assert "open " not in serving.log
        anna = serving.get("session", X_User="anna").json
        assert (anna["roles"], anna["approvals"]) == (["viewer", "planner", "approver"], 2)
        assert serving.get("session", X_User="eve").json["roles"] == ["viewer"]
        assert sent(serving.port, "GET", "/", {"X-User": "anna"}, source="127.0.0.7").status == 403


def test_the_process_that_serves_loads_nothing_that_reaches_a_registry(tmp_path: Path) -> None:
    program = Program(NOBODY, tmp_path)
    text = (
        "import sys; sys.argv = sys.argv[1:]\n"
        "import dregutil.cli.commands.serve\n"
        "print(*[name for name in sys.modules if name.startswith('dregutil.')])"
    )
    found = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True, cwd=program.folder)
    loaded = found.stdout.split()
    assert "dregutil.serve.app" in loaded
    rooms = ("dregutil.apply", "dregutil.clusters", "dregutil.registry.", "dregutil.session", "dregutil.notify")
    assert not [name for name in loaded if name.startswith(rooms)]


@pytest.mark.parametrize("line", commands("docs/serve.md"))
def test_every_way_to_start_it_that_is_documented_starts(line: str, tmp_path: Path) -> None:
    program, *words = shlex.split(line)
    assert (program, words[0]) == ("dregutil", "serve")
    (tmp_path / "policy.yml").write_text(
        "version: 1\npolicies: [{name: web, repositories: [shop/*], keep: {last: 2}}]\n"
    )
    with Serving(Program(NOBODY, tmp_path), tuple(words[1:])) as serving:
        assert sent(serving.port, "GET", "/healthz").body == b"ok\n"
