"""`protect: {pulls: [{log: FILE}]}`: a policy reads the access log of a real registry itself, before it judges."""

from __future__ import annotations

import os
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import dregutil
from dregutil.oci.names import Digest, RegistryAddress, Repository
from dregutil.pulls.pull import SourceKind
from dregutil.pulls.store import PullStore
from dregutil.pulls.writer import Batch, PullWriter
from images import ACCEPT, Pusher, created
from listening import until
from program import Program
from servers import DistributionServer
from servers.real import KINDS

POLICY = """version: 1
defaults: {max_remove: 100%, allow_empty: true}
protect: {pulls: [{log: LOG}]}
policies:
  - {name: builds, repositories: ["**"], keep: {last: 1, pulled_within: 90d}}
"""
TAGS = ("1.0", "1.1", "1.2", "2.0")
DAY = timedelta(days=1)


@dataclass
class Logged:
    """A registry of which a policy reads the log. What `pusher` reads counts as a pull: `tags` is for the end."""

    program: Program
    pusher: Pusher
    log: Path
    digests: dict[str, str]

    def pull(self, reference: str, agent: str = "containerd/2.1", method: str = "GET") -> None:
        """Pull, and wait until the log has it."""
        before = self.log.read_text().count(agent)
        self.pusher.request(method, f"/v2/shop/web/manifests/{reference}", headers={"User-Agent": agent})
        until(lambda: self.log.read_text().count(agent) > before)

    def write(self, log: str = "access.log*", more: str = "") -> None:
        (self.program.folder / "policy.yml").write_text(POLICY.replace("LOG", f"{log}{more}"))

    @property
    def tags(self) -> set[str]:
        return set(self.pusher.tags("shop/web"))

    @property
    def store(self) -> PullStore:
        return PullStore(self.program.state, RegistryAddress.parse(self.program.url).identity)

    def ok(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        done = self.program.run(*arguments)
        assert done.returncode == 0, done.stderr
        return done

    def cleanup(self, *more: str) -> subprocess.CompletedProcess[str]:
        return self.ok("cleanup", "-f", "policy.yml", *(more or ("-y", "--yes-remove", "3")))


@pytest.fixture
def logged(tmp_path: Path) -> Iterator[Logged]:
    """A registry with a log that goes back 100 days, and the images of `TAGS`, all old."""
    kind = KINDS["distribution-2.8"]
    kind.require()
    server = kind.server(tmp_path / "registry")
    assert isinstance(server, DistributionServer)
    quiet = "accesslog: {disabled: true}"
    assert quiet in server.configuration.read_text()
    server.configuration.write_text(server.configuration.read_text().replace(quiet, "accesslog: {disabled: false}"))
    log = tmp_path / "registry" / "server.log"
    log.write_text(line(100, "nothing"))
    (tmp_path / "access.log").symlink_to(log)
    with server, Pusher(server.url, headers={"Accept": ACCEPT}) as client:
        pushed = {
            tag: client.push_image("shop/web", tag, seed=tag, config=created(400 - place))
            for place, tag in enumerate(TAGS)
        }
        digests = {tag: one["digest"] for tag, one in pushed.items()}
        found = Logged(Program(server.url, tmp_path), client, log, digests)
        found.write()
        yield found


def record(logged: Logged, tag: str) -> None:
    """Record a pull, now, from a notification."""
    batch = Batch()
    batch.add(Repository("shop/web"), Digest(logged.digests[tag]), int(datetime.now(UTC).timestamp()), "podman/5")
    with closing(sqlite3.connect(logged.store.path, isolation_level=None)) as database:
        PullWriter(database, SourceKind.EVENTS, "notifications").write(batch)


def line(days_ago: float, reference: str, agent: str = "docker/28") -> str:
    moment = datetime.now(UTC) - days_ago * DAY
    request = f'"GET /v2/shop/web/manifests/{reference} HTTP/1.1" 200 5 "" "{agent}"'
    return f"10.0.0.9 - - [{moment:%d/%b/%Y:%H:%M:%S} +0000] {request}\n"


def test_what_the_log_says_was_pulled_stays(logged: Logged) -> None:
    logged.pull("1.0")
    logged.pull(logged.digests["1.1"], method="HEAD")
    why = logged.ok("why", "shop/web:1.0", "-f", "policy.yml").stdout
    assert "by containerd/2.1 (log); recorded since" in why
    logged.cleanup("-y")
    assert logged.tags == {"1.0", "1.1", "2.0"}


def test_each_run_reads_what_is_new(logged: Logged) -> None:
    logged.cleanup("--dry-run")
    logged.pull("1.0")
    logged.cleanup("--dry-run")
    assert "0 pulls in" in logged.ok("pulls", "read", "access.log").stderr
    logged.pull("1.1")
    logged.cleanup("-y")
    assert logged.tags == {"1.0", "1.1", "2.0"}


def test_it_goes_on_where_pulls_read_has_read_to(logged: Logged) -> None:
    logged.pull("1.0")
    logged.ok("pulls", "read", "access.log")
    logged.pull("1.1")
    logged.cleanup("-y")
    assert logged.tags == {"1.0", "1.1", "2.0"}
    (source,) = logged.store.sources()
    assert source.name == str(logged.program.folder / "access.log")


def test_what_is_pulled_after_a_plan_was_saved_stays(logged: Logged) -> None:
    logged.cleanup("--plan-out", "plan.jsonl")
    logged.pull("1.1")
    shown = logged.ok("apply", "plan.jsonl", "--dry-run").stdout
    assert [row.split()[2] for row in shown.splitlines() if row.startswith("KEEP")] == ["1.1"]
    done = logged.ok("apply", "plan.jsonl", "-y", "--yes-remove", "3")
    assert "pulled since the plan was made" in done.stderr
    assert logged.tags == {"1.1", "2.0"}


def test_a_pull_that_is_written_late_counts_as_well(logged: Logged) -> None:
    """A proxy writes its log in blocks: a line of before the plan may come after it."""
    logged.cleanup("--plan-out", "plan.jsonl")
    with logged.log.open("a") as log:
        log.write(line(0.01, "1.1") + line(95, "1.2"))
    done = logged.ok("apply", "plan.jsonl", "-y", "--yes-remove", "3")
    assert "known by now: pulled on" in done.stderr
    assert logged.tags == {"1.1", "2.0"}


@pytest.mark.parametrize(
    ("log", "told"),
    [
        ("absent*", "no file matches 'absent*'"),
        ("registry", "it is a folder"),
        ("fifo", "it is not a regular file"),
        ("loop", "Too many levels of symbolic links"),
        ("[access.log, other.log.gz]", "other.log.gz cannot be read: Compressed file ended"),
    ],
)
def test_a_log_that_cannot_be_read_refuses(logged: Logged, log: str, told: str) -> None:
    folder, program = logged.program.folder, logged.program
    logged.cleanup("--plan-out", "plan.jsonl")
    os.mkfifo(folder / "fifo")
    (folder / "loop").symlink_to("loop")
    (folder / "other.log.gz").write_bytes(b"\x1f\x8b\x08\x00")
    logged.write(log)
    for command in (
        ("cleanup", "-f", "policy.yml", "-y"),
        ("cleanup", "-f", "policy.yml", "--dry-run"),
        ("why", "shop/web:1.0", "-f", "policy.yml"),
        ("apply", "plan.jsonl", "-y", "--yes-remove", "3"),
        ("apply", "plan.jsonl", "--dry-run"),
    ):
        done = program.run(*command)
        assert (done.returncode, told in done.stderr) == (5, True), (command, done.stderr)
        what, advice = done.stderr.strip().splitlines()[-2:]
        assert what.startswith("dregutil: ")
        assert advice.startswith("  nothing was removed")
    checked = program.run("policy", "check", "policy.yml")
    if "other" not in log:  # what is in a file is not read
        assert (checked.returncode, told in checked.stdout) == (2, True), checked.stdout
        assert checked.stdout.startswith("policy.yml:3:19: ")
    assert logged.tags == set(TAGS)


@pytest.mark.parametrize("log", ["access.log*", "access.log"])
def test_a_rotation_loses_nothing(logged: Logged, log: str) -> None:
    logged.write(log)
    logged.cleanup("--dry-run")
    logged.pull("1.0")
    (logged.program.folder / "access.log.1").write_bytes(logged.log.read_bytes())
    os.truncate(logged.log, 0)
    logged.pull("1.1")
    logged.cleanup("-y")
    assert logged.tags == {"1.0", "1.1", "2.0"}


def test_a_log_that_ended_leaves_pulls_unknown(logged: Logged) -> None:
    """Also one of which no file is there any more: its clients may pull all the same."""
    other = logged.program.folder / "access.log.node2"
    other.write_text(line(100, "nothing") + line(3, "nothing"))
    assert "pulled_within: 90d (pulls are not recorded)" in logged.cleanup("--dry-run", "--details").stdout
    other.unlink()
    assert "pulled_within: 90d (pulls are not recorded)" in logged.cleanup("--dry-run", "--details").stdout
    logged.write("access.log")
    assert "pulls are not recorded" not in logged.cleanup("--dry-run", "--details").stdout


def test_other_logs_that_were_read_once_do_not_count(logged: Logged) -> None:
    (logged.program.folder / "old.log").write_text(line(100, "nothing") + line(50, "1.2"))
    logged.ok("pulls", "read", "old.log")
    logged.cleanup("-y", "--yes-remove", "2")
    assert logged.tags == {"1.2", "2.0"}, "what they say of pulls does"


def test_a_log_without_times_is_named(logged: Logged) -> None:
    (logged.program.folder / "access.log.odd").write_text("no time here\n")
    done = logged.cleanup("--dry-run", "--details")
    assert "access.log.odd: no line has a time that is known" in done.stderr
    assert "pulls are not recorded" in done.stdout


def test_a_format_of_ones_own(logged: Logged) -> None:
    moment = datetime.now(UTC)
    text = f"{moment - 100 * DAY:%Y-%m-%dT%H:%M:%SZ}|GET|/|200|x\n"
    text += f"{moment:%Y-%m-%dT%H:%M:%SZ}|GET|/v2/shop/web/manifests/1.2|200|podman/5\n"
    (logged.program.folder / "own.log").write_text(text)
    regex = r"(?P<time>[^|]+)\|(?P<method>[^|]+)\|(?P<path>[^|]+)\|(?P<status>[0-9]+)\|(?P<agent>.*)"
    logged.write("own.log", f", line_format: '{regex}'")
    logged.cleanup("-y", "--yes-remove", "2")
    assert logged.tags == {"1.2", "2.0"}


def test_relative_patterns_begin_at_the_policy_file(logged: Logged) -> None:
    folder = logged.program.folder
    (folder / "policies").mkdir()
    (folder / "policies" / "policy.yml").write_text(POLICY.replace("LOG", "../access.log"))
    logged.pull("1.0")
    logged.ok("cleanup", "-f", "policies/policy.yml", "-y", "--yes-remove", "2")
    assert logged.tags == {"1.0", "2.0"}
    assert [source.name for source in logged.store.sources()] == [str(folder / "access.log")]


@pytest.mark.parametrize("how", ["it is not a folder", "the disk is full"])
def test_where_nothing_can_be_recorded_the_log_counts_in_this_run(logged: Logged, how: str) -> None:
    """A read-only state folder; root may write to any, so something else is in its place."""
    logged.pull("1.0")
    state = logged.program.folder / "state2"
    if how == "it is not a folder":
        state.mkdir()
        (state / "pulls").write_text("a file")
    for command in (
        ("cleanup", "-f", "policy.yml", "--dry-run", "--details"),
        ("why", "shop/web:1.0", "-f", "policy.yml"),
    ):
        full = 1000 if how == "the disk is full" else None
        done = logged.program.run(*command, state=state, longest_file=full)
        assert done.returncode == 0, done.stderr
        assert "what the access logs say counts in this run only" in done.stderr
        assert "pulled_within: 90d" in done.stdout
        assert "pulls are not recorded" not in done.stdout
        (row,) = (one for one in done.stdout.splitlines() if one.startswith("KEEP") and "shop/web:1.0" in one)
        assert "pulled_within: 90d" in row


def test_a_copy_in_memory_goes_on_where_the_records_end(logged: Logged, monkeypatch: pytest.MonkeyPatch) -> None:
    logged.pull("1.0")
    logged.cleanup("--dry-run")
    logged.pull("1.1")
    before = logged.store.path.read_bytes()

    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("dregutil.pulls.store.create_private", refuse)
    told: list[str] = []
    with dregutil.open(
        logged.program.url, state_dir=logged.program.state, on_warning=lambda message, advice: told.append(message)
    ) as registry:
        proposal = registry.plan_cleanup(logged.program.folder / "policy.yml")
        assert {tag for step in proposal.plan.steps for tag in step.tags} == {"1.2"}
        assert logged.store.path.read_bytes() == before
        record(logged, "1.2")  # as `listen` does, which may write there
        assert not registry.still_planned(proposal.plan).steps
    assert [one for one in told if "counts in this run only" in one] == told[:1]
    assert "Read-only file system; what" in told[0]


def test_two_runs_at_once(logged: Logged) -> None:
    """Both read the same lines; nothing is lost, whichever writes last."""
    for number in range(200):
        with logged.log.open("a") as log:
            log.write("".join(line(1, str(one)) for one in range(number * 100, number * 100 + 100)))
    logged.pull("1.0")
    command = logged.program.command(("cleanup", "-f", "policy.yml", "--dry-run"))
    runs = [
        subprocess.Popen(
            command,
            cwd=logged.program.folder,
            env=logged.program.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for run in runs:
        _, errors = run.communicate()
        assert run.returncode == 0, errors
    assert len(logged.store.pulls(Repository("shop/web")).tags) >= 20_001
    assert "0 pulls in" in logged.ok("pulls", "read", "access.log").stderr
    logged.cleanup("-y", "--yes-remove", "2")
    assert logged.tags == {"1.0", "2.0"}


def test_hostile_lines_change_nothing_but_what_they_may(logged: Logged) -> None:
    """A client chooses its name, its agent and its paths: it can make an image look used, and nothing else."""
    long_ago = "01/Jan/2020:00:00:00 +0000"
    now = f"{datetime.now(UTC):%d/%b/%Y:%H:%M:%S} +0000"
    (logged.program.folder / "access.log.node2").write_bytes(
        f'10.0.0.9 - [{long_ago}] [{now}] "GET /v2/ HTTP/1.1" 401 5 "" "docker/28"\n'.encode()
        + f'10.0.0.9 - 2020-01-01T00:00:00Z [{now}] "GET /v2/ HTTP/1.1" 401 5 "" "docker/28"\n'.encode()
        + f'10.0.0.9 - - [{now}] "GET /v2/shop/web/manifests/1.2 HTTP/1.1" 200 5 "" "\x1b[2Jevil\x07/1"\n'.encode()
        + b'10.0.0.9 - - [99/Xyz/9999:99:99:99 +9999] "GET /v2/../manifests/\xff\x00 HTTP/1.1" 200 5 "" "x"\n'
        + b'{"time": 1e400, "http.request.method": "GET", "http.request.uri": "/v2/a/manifests/1"}\n'
        + b"[" * 40_000
        + b'\n10.0.0.9 - - [01/Jan/2099:00:00:00 +0000] "GET /v2/ HTTP/1.1" 401 5 "" "docker/28"\n'
    )
    shown = logged.ok("why", "shop/web:1.2", "-f", "policy.yml").stdout
    assert "recorded for 0 of 90 days" in shown
    assert "\x1b" not in shown
    assert "\x07" not in shown
    listed = logged.ok("pulls", "shop/web").stdout
    assert "\x1b" not in listed
    logged.cleanup("-y")
    assert logged.tags == set(TAGS)


def test_in_python(logged: Logged) -> None:
    logged.pull("1.2")
    policies = dregutil.policy_set(
        [
            dregutil.Policy(
                name="p",
                repositories=["**"],
                keep=dregutil.Keep(pulled_within="90d"),
                max_remove="100%",
                allow_empty=True,
            )
        ],
        protect=dregutil.Protect(
            pulls=[dregutil.PullSource(dregutil.SourceKind.LOG, files=[str(logged.program.folder / "access.log*")])]
        ),
    )
    with dregutil.open(logged.program.url, state_dir=logged.program.state) as registry:
        proposal = registry.plan_cleanup(policies)
    assert {tag for step in proposal.plan.steps for tag in step.tags} == {"1.0", "1.1", "2.0"}


def test_pulls_of_several_images_are_read_once(logged: Logged) -> None:
    """Whatever is said of what was read is said once."""
    logged.pusher.push_image("shop/api", "1.0", seed="api")
    reads: list[object] = []
    with dregutil.open(logged.program.url, state_dir=logged.program.state, on_read=reads.append) as registry:
        for images, found in (
            (["shop/web:1.0", "shop/web:2.0"], ["shop/web:1.0", "shop/web:2.0"]),
            (["shop/api:1.0", "shop/web:2.0"], ["shop/api:1.0", "shop/web:2.0"]),
            (["shop/web:2.0", "shop/api"], ["shop/api:1.0", "shop/web:2.0"]),
            ([f"shop/web@{logged.digests['1.1']}", "shop/a*"], ["shop/api:1.0", "shop/web:1.1"]),
            (["shop/web:1.0", "shop/web"], [f"shop/web:{tag}" for tag in TAGS]),
        ):
            reads.clear()
            images_of = registry.pulls(*images).images
            assert [f"{one.repository}:{one.tag}" for one in images_of] == found
            assert len(reads) == 1
        with pytest.raises(dregutil.NotFoundError, match="nope"):
            registry.pulls("shop/web:1.0", "shop/web:nope")
