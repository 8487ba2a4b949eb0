"""Undo against the real registry and its real collector: what can be restored is restored, and the rest is reported."""

from __future__ import annotations

import json
import os
import pwd
import re
import shlex
import socket
import subprocess
from pathlib import Path

import pytest

from images import IMAGE, Pusher
from program import PROGRAM, Program, on_terminal
from servers import DistributionServer, find_program

pytestmark = pytest.mark.every_server


@pytest.fixture
def program(registry_server: DistributionServer, tmp_path: Path) -> Program:
    return Program(registry_server.url, tmp_path)


def shop(pusher: Pusher) -> dict[str, str]:
    """An index with a signature, a nested index, a shared child, twenty images that share their layers."""
    amd, arm = (pusher.push_image("shop/web", seed=seed) for seed in ("amd", "arm"))
    index = pusher.push_index("shop/web", "1.0", "1.0.0", children=[amd, arm])
    pusher.push_index("shop/web", "nested", children=[index, pusher.push_image("shop/web", seed="more")])
    pusher.push_index("shop/web", "2.0", children=[amd])
    pusher.push_image("shop/web", f"sha256-{index['digest'][7:]}.sig", seed="signature")
    layer = {"mediaType": "application/vnd.oci.image.layer.v1.tar", "size": 6}
    layer["digest"] = pusher.push_blob("shop/web", b"shared")
    for number in range(20):
        body = {"schemaVersion": 2, "config": layer, "layers": [layer], "annotations": {"n": str(number)}}
        raw = json.dumps({**body, "mediaType": "application/vnd.oci.image.manifest.v1+json"}).encode()
        pusher.push_manifest("shop/web", f"0.{number}", raw, "application/vnd.oci.image.manifest.v1+json")
    return pusher.tags("shop/web")


def remove(program: Program, *selector: str) -> None:
    found = program.run("remove-tags", "-r", "shop/web", "-t", *(selector or ("<2.0", "nested")))
    assert found.returncode == 0, found.stderr


def test_everything_is_restored_as_it_was(pusher: Pusher, program: Program) -> None:
    before = shop(pusher)
    remove(program)
    assert set(pusher.tags("shop/web")) == {"2.0"}
    shown = program.run("undo", "--dry-run")
    assert (shown.returncode, set(pusher.tags("shop/web"))) == (0, {"2.0"})
    found = program.run("undo", "-y")
    assert found.returncode == 0, found.stderr
    assert pusher.tags("shop/web") == before
    assert all(pusher.is_whole("shop/web", tag) for tag in before)
    again = program.run("undo", program.runs[0].name, "-y")
    assert (again.returncode, again.stdout) == (0, "")
    assert "nothing to put back" in again.stderr
    assert program.run("undo", "-y").returncode == 1
    assert [(run["removed"], run["undone"], run["unfinished"]) for run in program.history()] == [
        (24, True, False),
        (0, False, False),
    ]


def test_a_tag_that_has_moved_is_left_alone(pusher: Pusher, program: Program) -> None:
    before = shop(pusher)
    remove(program)
    new = pusher.push_image("shop/web", "0.3", seed="new")
    found = program.run("undo", "-y")
    assert found.returncode == 0, found.stderr
    assert "shop/web:0.3 points to another digest now" in found.stderr
    assert pusher.tags("shop/web") == {**before, "0.3": new["digest"]}


def test_what_came_back_stays_in_its_index_when_its_tag_moves(pusher: Pusher, program: Program) -> None:
    """zot 1.4.3 keeps what was put by a tag alone only until that tag moves, whatever index lists it."""
    inner = pusher.push_index("shop/web", "1.0", children=[pusher.push_image("shop/web", "0.1", seed="amd")])
    pusher.push_index("shop/web", "nested", children=[inner, pusher.push_image("shop/web", "0.2", seed="more")])
    pusher.push_image("shop/web", "2.0", seed="stays")
    remove(program)
    found = program.run("undo", "-y")
    assert found.returncode == 0, found.stderr
    pusher.push_index("shop/web", "1.0", children=[pusher.push_image("shop/web", seed="new")])
    for tag in ("0.1", "0.2"):
        pusher.push_image("shop/web", tag, seed=f"new {tag}")
    assert pusher.is_whole("shop/web", "nested")


@pytest.mark.parametrize("restarted", [False, True])
def test_after_garbage_collection(tmp_path: Path, restarted: bool) -> None:
    """The server keeps running with its old cache, and is restarted: it accepts what it cannot serve."""
    with DistributionServer(tmp_path / "registry", cache=True) as server:
        pusher = Pusher(server.url)
        program = Program(server.url, tmp_path)
        before = shop(pusher)
        pusher.push_image("shop/web", "1.5", seed="amd")  # the shared child, which 2.0 keeps
        remove(program, "1.0", "1.0.0", "nested", "0.3", "1.5")
        kept = pusher.tags("shop/web")
        pusher.close()
        if restarted:
            server.stop()
        server.garbage_collect()
        if restarted:
            server.start()
        found = program.run("undo", "-y")
        assert found.returncode == 3, found.stderr
        assert "cannot come back" in found.stderr or "accepted its manifest" in found.stderr
        after = pusher.tags("shop/web")
        assert kept.items() <= after.items()
        assert {tag: digest for tag, digest in after.items() if tag not in kept}.items() <= before.items()
        assert all(pusher.is_whole("shop/web", tag) for tag in after)
        # Its blobs are shared with images that stay; only its manifest was collected, and is restored after a restart.
        assert ("0.3" in after) == restarted
        assert ("restart it and undo again" in found.stderr) == (not restarted)
        listed = json.loads(pusher.request("GET", "/v2/shop/web/tags/list")[2])["tags"]
        assert set(listed) == set(after), "no tag is left dangling"
        pusher.close()


def test_what_is_lost_is_reported_and_the_rest_is_restored_after_a_restart(tmp_path: Path) -> None:
    """Of four images one has lost its layer, one its child, one is complete, and one has lost only its manifest."""
    with DistributionServer(tmp_path / "registry", cache=True) as server, Pusher(server.url) as pusher:
        program = Program(server.url, tmp_path)
        pusher.push_image("r", "2.0", seed="keep", layers=[b"shared"])
        config = json.loads(pusher.raw("r", "2.0"))["config"]
        layer = json.loads(pusher.raw("r", "2.0"))["layers"]
        lost = pusher.push_image("r", "1.0", seed="lost")
        index = pusher.push_index("r", "1.1", "1.1.0", children=[lost])
        body = {"schemaVersion": 2, "mediaType": IMAGE, "config": config, "layers": layer, "annotations": {"n": "1"}}
        back = pusher.push_manifest("r", "1.2", json.dumps(body).encode(), IMAGE)
        gone = {blob["digest"] for blob in json.loads(pusher.raw("r", "1.0"))["layers"]}
        gone.add(json.loads(pusher.raw("r", "1.0"))["config"]["digest"])
        before = pusher.tags("r")
        remove_all = program.run("remove-tags", "-r", "r", "-t", "<2")
        assert remove_all.returncode == 0, remove_all.stderr
        server.garbage_collect()

        found = program.run("undo", "-y")
        assert found.returncode == 3
        told = found.stderr.splitlines()[1:]
        assert told[0].startswith(f"cannot come back: r {lost['digest'][:19]} (1.0): its blob sha256:")
        assert any(blob[:19] in told[0] for blob in gone)
        assert told[0].endswith(" is gone: the registry has collected its garbage")
        assert told[1:] == [
            f"cannot come back: r {index['digest'][:19]} (1.1, 1.1.0): "
            f"its child {lost['digest'][:19]} cannot come back",
            f"failed: r {back[:19]}: the registry accepted its manifest and does not have it: its memory is of before "
            "its garbage collection, restart it and undo again",
            "put back 0 tags (0 manifests)",
        ]
        assert json.loads(pusher.request("GET", "/v2/r/tags/list")[2])["tags"] == ["2.0"]
        pusher.close()
        server.stop()
        server.start()
        again = program.run("undo", "-y")
        assert (again.returncode, again.stderr.splitlines()[-2]) == (3, "put back 1 tag (1 manifest)")
        assert re.match(r"held until \d{4}-\d\d-\d\d: `dregutil hold --end ", again.stderr.splitlines()[-1])
        assert pusher.tags("r") == {"2.0": before["2.0"], "1.2": back}
        assert pusher.is_whole("r", "1.2")
        last = program.run("undo", program.runs[0].name, "-y")
        assert (last.returncode, last.stderr.splitlines()[-1]) == (3, "nothing can be put back")
        found_by, others = program.history()[1], [run["collected"] for run in program.history()[1:]]
        assert (program.history()[0]["collected"], others) == (found_by["when"], [None, None])
        assert ", collected" in program.run("history").stdout


@pytest.mark.only_on("distribution-2.8", "distribution-3", "olareg", why="the others mount nothing")
def test_a_blob_that_only_another_repository_has_is_mounted(pusher: Pusher, program: Program) -> None:
    image = pusher.push_image("shop/web", "1.0", seed="one")
    pusher.push_image("shop/copy", "1.0", seed="one")
    found = program.run("remove-tags", "-r", "shop/web", "-t", "1.0", "--ignore-other-repos", "--refresh")
    assert found.returncode == 0, found.stderr
    manifest = json.loads(pusher.raw("shop/copy", image["digest"]))
    layer = manifest["layers"][0]["digest"]
    # What the collector of 3.x does to a repository's own links (2.8 keeps them).
    assert pusher.request("DELETE", f"/v2/shop/web/blobs/{layer}")[0] == 202
    assert pusher.request("GET", f"/v2/shop/web/blobs/{layer}")[0] == 404
    found = program.run("undo", "-y")
    assert found.returncode == 0, found.stderr
    assert pusher.is_whole("shop/web", "1.0")


def test_an_index_whose_child_was_deleted_otherwise_is_reported(pusher: Pusher, program: Program) -> None:
    child = pusher.push_image("shop/web", seed="child")
    pusher.push_index("shop/web", "1.0", children=[child])
    pusher.push_image("shop/web", "1.1", seed="other")
    found = program.run("remove-tags", "-r", "shop/web", "-t", "1.0", "1.1", "--keep-children")
    assert found.returncode == 0, found.stderr
    pusher.request("DELETE", f"/v2/shop/web/manifests/{child['digest']}")
    found = program.run("undo", "-y")
    assert found.returncode == 3
    assert "its child" in found.stderr
    assert set(pusher.tags("shop/web")) == {"1.1"}


def test_an_index_that_lacks_something_further_down_is_not_put_back(pusher: Pusher, program: Program) -> None:
    child = pusher.push_image("shop/web", seed="child")
    inner = pusher.push_index("shop/web", children=[child])
    pusher.push_index("shop/web", "1.0", children=[inner])
    found = program.run("remove-tags", "-r", "shop/web", "-t", "1.0", "--keep-children")
    assert found.returncode == 0, found.stderr
    pusher.request("DELETE", f"/v2/shop/web/manifests/{child['digest']}")
    found = program.run("undo", "-y")
    assert found.returncode == 3
    assert f"its child {child['digest'][:19]} is not there" in found.stderr
    assert not pusher.tags("shop/web")


def test_the_removed_manifests_are_an_oci_layout(pusher: Pusher, program: Program) -> None:
    image = pusher.push_image("shop/web", "1.0", seed="one")
    remove(program, "1.0")
    layout = program.runs[0] / "layout"
    command = [find_program("skopeo"), "inspect", "--raw", f"oci:{layout}:shop/web:1.0"]
    raw = subprocess.run(command, check=True, capture_output=True).stdout
    assert Pusher.digest_of(raw) == image["digest"]


def test_a_secret_is_in_no_record(pusher: Pusher, program: Program) -> None:
    pusher.push_image("shop/web", "1.0", seed="one")
    for number, options in enumerate((("-p", "s3cret"), ("-ps3cret",), ("--password=s3cret",))):
        pusher.push_image("shop/web", f"1.{number}", seed=str(number))
        found = program.run("remove-tags", "-r", "shop/web", "-t", f"1.{number}", "-u", "me", *options)
        assert found.returncode == 0, found.stderr
    assert len(program.runs) == 3
    for path in program.state.rglob("*"):
        assert path.is_dir() or b"s3cret" not in path.read_bytes()
    assert all(folder.stat().st_mode & 0o077 == 0 for folder in program.runs)


def test_a_command_in_advice_works_in_any_folder(pusher: Pusher, program: Program, tmp_path: Path) -> None:
    before = shop(pusher)
    found = program.run("remove-tags", "-r", "shop/web", "-t", "<2.0", "nested")
    (advised,) = re.findall(r"`dregutil (undo .*?)`", found.stderr)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert bare(program, elsewhere, *shlex.split(advised), "-y").returncode == 0
    assert pusher.tags("shop/web") == before


def test_a_run_names_its_registry_and_a_plans_file_does_not(pusher: Pusher, program: Program, tmp_path: Path) -> None:
    before = shop(pusher)
    assert program.run("remove-tags", "-r", "shop/web", "-t", "2.0", "--plan-out", "plan").returncode == 0
    refused = bare(program, tmp_path, "apply", "plan", "-y")
    assert (refused.returncode, f"add -reg {program.url.partition('//')[2]}" in refused.stderr) == (2, True)
    assert bare(program, tmp_path, "undo", "-y").returncode == 2
    assert program.run("apply", "plan", "-y").returncode == 0
    (run,) = (path.name for path in program.runs)
    state = ("--state-dir", str(program.state))
    assert bare(program, tmp_path, "apply", "--resume", run, *state, "-y").returncode == 0
    undone = bare(program, tmp_path, "undo", run, *state, "-y")
    assert (undone.returncode, pusher.tags("shop/web")) == (0, before), undone.stderr


def test_a_plan_applied_twice_lists_nothing_the_second_time(pusher: Pusher, program: Program) -> None:
    shop(pusher)
    assert program.run("remove-tags", "-r", "shop/web", "-t", "0.0", "0.1", "--plan-out", "plan").returncode == 0
    assert len(program.run("apply", "plan", "-y").stdout.splitlines()) == 2
    again = program.run("apply", "plan", "-y")
    assert (again.returncode, again.stdout) == (0, "")
    assert "removed 0 tags (0 manifests), 2 were gone already" in again.stderr
    (applied,) = program.history()
    assert (applied["removed"], applied["digests"]) == (2, 2)
    assert f"{applied['run']}     2  " in program.run("history").stdout


def test_history_shows_who_ran_what_and_what_it_frees(pusher: Pusher, program: Program) -> None:
    shop(pusher)
    assert program.run("remove-tags", "-r", "shop/web", "-t", "0.0", "0.1").returncode == 0
    assert program.run("undo", "-y").returncode == 0
    removal, undo = program.history()
    user, host = pwd.getpwuid(os.geteuid()).pw_name, socket.gethostname()
    for run in (removal, undo):
        assert (run["by"], run["host"], run["collected"]) == (user, host, None)
    assert (removal["digests"], removal["exact"], removal["undoes"]) == (2, False, None)
    assert removal["reclaimable_bytes"] > 0
    assert (undo["reclaimable_bytes"], undo["undoes"]) == (None, removal["run"])
    head, first, second = program.run("history").stdout.splitlines()
    assert head.split() == ["WHEN", "RUN", "TAGS", "SIZE", "BY", "STATE", "COMMAND"]
    assert first.split()[2:] == [removal["run"], "2", *first.split()[4:6], user, "undone", *removal["command"].split()]
    assert f"  {user}  undo of {removal['run']}  " in second
    steps = program.run("history", removal["run"])
    assert "selected" in steps.stdout


def test_a_signature_tag_is_short_on_a_terminal_and_complete_for_a_program(pusher: Pusher, program: Program) -> None:
    digest = pusher.push_image("shop/web", "1.0", seed="one")["digest"]
    tag = f"sha256-{digest[7:]}.sig"
    pusher.push_image("shop/web", tag, seed="signature")
    short = f"sha256-{digest[7:19]}….sig"
    for arguments in (
        ("inspect", "shop/web:1.0"),
        ("du", "--by", "tag"),
        ("remove-tags", "-r", "shop/web", "-t", "1.0", "--dry-run"),
    ):
        assert tag in program.run(*arguments).stdout
        code, shown = on_terminal(program, "", *arguments)
        assert (code, short in shown, tag in shown) == (0, True, False), shown


def bare(program: Program, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The program with only the given arguments, as typed in another folder."""
    return subprocess.run(
        [str(PROGRAM), *arguments],
        cwd=folder,
        env=program.environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
