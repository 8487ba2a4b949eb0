"""`remove-digests` on the real registry: what goes, what is held back and why, and what undo puts back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import dregutil
from dregutil.errors import NotFoundError, UsageError
from images import Pusher
from program import Program, on_terminal
from servers import DistributionServer
from servers.http import Answer, Proxy, Request
from servers.memory import MemoryServer

WEB = "shop/web"
TAGS_NOT_NAMED = "has tags, and only its digest was named (--with-tags takes them too)"


@pytest.fixture
def program(registry_server: DistributionServer, tmp_path: Path) -> Program:
    return Program(registry_server.url, tmp_path)


def remove(program: Program, *arguments: Any, repo: str = WEB) -> Any:
    """Run `remove-digests`; a descriptor stands for its digest."""
    words = [one["digest"] if isinstance(one, dict) else one for one in arguments]
    return program.run("remove-digests", "-r", repo, *words)


def test_a_manifest_without_a_tag_goes_and_comes_back(program: Program, pusher: Pusher) -> None:
    pusher.push_image(WEB, "1.0", seed="one")
    stray = pusher.push_image(WEB, seed="stray")
    shown = remove(program, stray, "--dry-run")
    assert shown.returncode == 0
    assert f"REMOVE  {stray['digest']}  (untagged)  image" in shown.stdout
    assert "1 untagged manifest to go, 0 held back" in shown.stdout
    assert pusher.has(WEB, stray["digest"])
    done = remove(program, stray, "-y")
    assert (done.returncode, done.stdout) == (0, f"{WEB}  {stray['digest']}\n")
    assert not pusher.has(WEB, stray["digest"])
    assert program.run("undo", "-y").returncode == 0
    assert pusher.is_whole(WEB, stray["digest"])
    assert set(pusher.tags(WEB)) == {"1.0"}


def test_in_a_script_it_needs_y_and_on_a_terminal_it_asks(program: Program, pusher: Pusher) -> None:
    stray = pusher.push_image(WEB, seed="stray")
    refused = remove(program, stray)
    assert (refused.returncode, "not a terminal" in refused.stderr) == (2, True)
    code, shown = on_terminal(program, "n", "remove-digests", "-r", WEB, stray["digest"])
    assert (code, f"Remove 1 untagged manifest of {WEB} from" in shown) == (0, True)
    assert pusher.has(WEB, stray["digest"])
    assert on_terminal(program, "y", "remove-digests", "-r", WEB, stray["digest"])[0] == 0
    assert not pusher.has(WEB, stray["digest"])


def test_a_digest_that_has_tags_goes_only_with_them(program: Program, pusher: Pusher) -> None:
    image = pusher.push_image(WEB, "1.0", "stable", seed="one")
    before = pusher.tags(WEB)
    for command in (["--dry-run"], ["-y"]):
        held = remove(program, image, *command)
        assert held.returncode == 0
        assert f"{image['digest']}  1.0, stable  {TAGS_NOT_NAMED}" in held.stdout + held.stderr
    assert remove(program, image, "-y", "--strict").returncode == 3
    assert pusher.tags(WEB) == before
    shown = remove(program, image, "--with-tags", "--dry-run")
    assert f"REMOVE  {image['digest']}  1.0, stable" in shown.stdout
    done = remove(program, image, "--with-tags", "-y", "--format", "json")
    assert json.loads(done.stdout) == [
        {"repository": WEB, "digest": image["digest"], "tags": ["1.0", "stable"], "other_tags": []}
    ]
    assert pusher.tags(WEB) == {}
    assert program.run("undo", "-y").returncode == 0
    assert pusher.tags(WEB) == before


@pytest.mark.parametrize("options", [(), ("--with-tags",)])
def test_a_child_of_an_index_that_stays_is_held(program: Program, pusher: Pusher, options: tuple[str, ...]) -> None:
    amd, arm = (pusher.push_image(WEB, seed=seed) for seed in ("amd", "arm"))
    inner = pusher.push_index(WEB, children=[amd])
    pusher.push_index(WEB, "1.0", children=[inner, arm])
    for child, above in ((amd, inner), (arm, None), (inner, None)):
        held = remove(program, child, *options, "-y")
        assert held.returncode == 0
        assert "part of the index " + (above["digest"][:19] if above else "sha256:") in held.stderr
        assert ", which stays" in held.stderr
        assert remove(program, child, *options, "-y", "--strict").returncode == 3
    assert pusher.is_whole(WEB, "1.0")


def test_an_index_goes_with_the_children_that_nothing_else_holds(program: Program, pusher: Pusher) -> None:
    own, shared = (pusher.push_image(WEB, seed=seed) for seed in ("own", "shared"))
    old = pusher.push_index(WEB, children=[own, shared])
    pusher.push_index(WEB, "2.0", children=[shared])
    kept = remove(program, old, "--keep-children", "--dry-run")
    assert own["digest"][:19] not in kept.stdout
    assert remove(program, old, "-y").returncode == 0
    assert [pusher.has(WEB, one["digest"]) for one in (old, own, shared)] == [False, False, True]
    assert pusher.is_whole(WEB, "2.0")


def test_an_index_without_a_tag_that_was_seen_holds_its_child(program: Program, pusher: Pusher, tmp_path: Path) -> None:
    """It lost its tag to another push: the API does not list it, and only what was read before knows it."""
    child = pusher.push_image(WEB, seed="child")
    index = pusher.push_index(WEB, "1.0", children=[child])
    assert program.run("-c", str(tmp_path / "cache.json"), "du", WEB).returncode == 0
    pusher.push_image(WEB, "1.0", seed="pushed over it")
    held = program.run("-c", str(tmp_path / "cache.json"), "remove-digests", "-r", WEB, child["digest"], "-y")
    assert "part of the index" in held.stderr
    assert pusher.is_whole(WEB, index["digest"])
    done = program.run("-c", str(tmp_path / "cache.json"), "remove-digests", "-r", WEB, index["digest"], "-y")
    assert done.returncode == 0
    assert not pusher.has(WEB, child["digest"])


def test_what_lost_its_tag_according_to_the_records_holds_its_child(
    program: Program, pusher: Pusher, tmp_path: Path
) -> None:
    child = pusher.push_image(WEB, seed="child")
    index = pusher.push_index(WEB, "1.0", children=[child])
    assert program.run("refresh").returncode == 0
    pusher.push_image(WEB, "1.0", seed="pushed over it")
    assert program.run("refresh").returncode == 0
    held = remove(program, child, "-y")
    assert "part of the index" in held.stderr
    assert pusher.is_whole(WEB, index["digest"])


def test_the_storage_shows_an_index_without_a_tag(
    registry_server: DistributionServer, program: Program, pusher: Pusher
) -> None:
    child = pusher.push_image(WEB, seed="child")
    index = pusher.push_index(WEB, children=[child])
    held = remove(program, child, "-y", "--storage", str(registry_server.storage))
    assert "part of the index" in held.stderr
    assert pusher.is_whole(WEB, index["digest"])


def test_other_repositories_keep_theirs(program: Program, pusher: Pusher) -> None:
    for name in (WEB, "shop/copy"):
        image = pusher.push_image(name, seed="one")
        pusher.push_image(name, "2.0", seed="two")
    index = pusher.push_index("shop/copy", "1.0", children=[image])
    assert remove(program, image, "-y").returncode == 0
    assert not pusher.has(WEB, image["digest"])
    assert pusher.is_whole("shop/copy", index["digest"])


def test_a_referrer_goes_although_its_subject_stays(program: Program, pusher: Pusher) -> None:
    image = pusher.push_image(WEB, "1.0", seed="one")
    sbom = pusher.push_image(WEB, "sbom", seed="sbom", subject=image)
    signature = pusher.push_image(WEB, seed="signature", subject=image)
    assert remove(program, signature, "-y").returncode == 0
    assert not pusher.has(WEB, signature["digest"])
    assert TAGS_NOT_NAMED in remove(program, sbom, "-y").stderr
    assert remove(program, sbom, "-y", "--with-tags").returncode == 0
    assert set(pusher.tags(WEB)) == {"1.0"}
    assert pusher.is_whole(WEB, "1.0")
    assert program.run("undo", "-y").returncode == 0
    assert pusher.tags(WEB)["sbom"] == sbom["digest"]


def test_a_referrer_that_a_fallback_tag_lists_stays(program: Program, pusher: Pusher) -> None:
    image = pusher.push_image(WEB, "1.0", seed="one")
    sbom = pusher.push_image(WEB, seed="sbom", subject=image)
    pusher.push_index(WEB, f"sha256-{image['digest'][7:]}", children=[sbom])
    assert "part of the index" in remove(program, sbom, "-y").stderr
    assert pusher.is_whole(WEB, f"sha256-{image['digest'][7:]}")


def test_what_a_tag_refers_to_is_held(program: Program, pusher: Pusher) -> None:
    image = pusher.push_image(WEB, seed="one")
    sbom = pusher.push_image(WEB, "sbom", seed="sbom", subject=image)
    pusher.push_index(WEB, f"sha256-{image['digest'][7:]}", children=[sbom])
    assert "'sbom' refers to it" in remove(program, image, "-y").stderr
    assert pusher.has(WEB, image["digest"])


def test_a_unique_beginning_is_enough_and_another_is_refused(program: Program, pusher: Pusher) -> None:
    amd = pusher.push_image(WEB, seed="amd")
    index = pusher.push_index(WEB, "1.0", children=[amd])
    digits = index["digest"][7:]
    for text in (digits[:8], f"sha256:{digits[:12]}", digits):
        assert f"REMOVE  {index['digest']}" in remove(program, text, "--with-tags", "--dry-run").stdout
    assert "part of the index" in remove(program, amd["digest"][7:15], "--dry-run").stdout
    layer = json.loads(pusher.raw(WEB, amd["digest"]))["layers"][0]["digest"]
    for text, code in ((layer[7:17], 1), ("0123456789", 1), ("xyz", 2), ("abc", 2), ("1.0", 2), (f"md5:{digits}", 2)):
        found = remove(program, text, "-y")
        assert (found.returncode, found.stdout) == (code, ""), found.stderr
    assert pusher.is_whole(WEB, "1.0")


def test_the_beginning_of_two_digests_is_refused(program: Program, pusher: Pusher) -> None:
    """Images are pushed until two begin with the same four digits; their digests are the same in every run."""
    children = [pusher.push_image(WEB, "0", seed="image 0")]
    while len({child["digest"][7:11] for child in children}) == len(children):
        assert len(children) < 1000
        children.append(pusher.push_image(WEB, seed=f"image {len(children)}"))
    pusher.push_index(WEB, "all", children=children)
    found = remove(program, children[-1]["digest"][7:11], "-y")
    assert found.returncode == 2
    assert "is the beginning of 2 digests" in found.stderr


def test_what_is_not_there_is_named(program: Program, pusher: Pusher) -> None:
    stray = pusher.push_image(WEB, seed="stray")
    absent = f"sha256:{'0' * 64}"
    for repo in (WEB, "shop/absent"):
        found = remove(program, absent, "-y", repo=repo)
        assert (found.returncode, found.stdout) == (1, "")
        assert f"dregutil: {repo} has no manifest {absent}\n" in found.stderr
    found = remove(program, absent, stray, "-y")
    assert (found.returncode, found.stdout) == (3, f"{WEB}  {stray['digest']}\n")
    assert f"{WEB} has no manifest {absent}" in found.stderr


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (("-r", WEB), "DIGEST"),
        (("-r", WEB, "-r", "b", "abcd1234"), "one repository"),
        (("-r", "shop/*", "abcd1234"), "shop/*"),
        (("abcd1234",), "--repo"),
    ],
)
def test_a_wrong_command_line(program: Program, line: tuple[str, ...], said: str) -> None:
    found = program.run("remove-digests", *line, "-y")
    assert (found.returncode, said in found.stderr) == (2, True), found.stderr


def test_a_tag_that_moves_onto_it_between_plan_and_apply_holds_it(program: Program, pusher: Pusher) -> None:
    pusher.push_image(WEB, "1.0", seed="one")
    stray = pusher.push_image(WEB, seed="stray")
    tagged = pusher.push_image(WEB, "old", seed="old")
    assert remove(program, stray, "--plan-out", "plan").returncode == 0
    assert remove(program, tagged, "--with-tags", "--plan-out", "other").returncode == 0
    pusher.push_image(WEB, "1.0", seed="stray")
    pusher.push_image(WEB, "new", seed="old")
    before = pusher.tags(WEB)
    for plan, said in (("plan", "also '1.0'"), ("other", "also 'new'")):
        found = program.run("apply", plan, "-y")
        assert (found.returncode, said in found.stderr) == (5, True), found.stderr
    assert pusher.tags(WEB) == before
    assert all(pusher.is_whole(WEB, tag) for tag in before)


@pytest.mark.parametrize("kind", ["tag", "index", "tagged index"])
def test_what_is_pushed_just_before_the_delete_stays_whole(
    registry_server: DistributionServer, pusher: Pusher, tmp_path: Path, kind: str
) -> None:
    """After the last look before the DELETE: what needs the manifest, and is known, is put back."""
    pusher.push_image(WEB, "1.0", seed="one")
    stray = pusher.push_image(WEB, seed="stray")
    other = Pusher(registry_server.url)

    def meddle(request: Request) -> Answer | None:
        if request.method == "DELETE" and not pushed:
            pushed.append(kind)
            if kind == "tag":
                other.push_image(WEB, "new", seed="stray")
            else:
                other.push_index(WEB, *(["new"] if kind == "tagged index" else []), children=[stray])
        return None

    pushed: list[str] = []
    with other, Proxy(registry_server.port, before=meddle) as proxy:
        found = remove(Program(proxy.url, tmp_path), stray, "-y")
    assert pushed
    tags = pusher.tags(WEB)
    if kind == "tag":  # it goes with the digest, in the second that no client can close
        assert found.returncode in (0, 3)
        assert all(pusher.is_whole(WEB, tag) for tag in tags)
    elif kind == "tagged index":
        assert pusher.is_whole(WEB, "new"), found.stderr


def test_the_brake_counts_the_tags_of_named_digests(program: Program, pusher: Pusher) -> None:
    image = pusher.push_image(WEB, *(f"1.{number}" for number in range(60)), seed="one")
    pusher.push_image(WEB, "2.0", seed="two")
    braked = remove(program, image, "--with-tags", "-y")
    assert (braked.returncode, "--yes-remove 60" in braked.stderr) == (5, True)
    assert len(pusher.tags(WEB)) == 61
    assert remove(program, image, "--with-tags", "-y", "--yes-remove", "60").returncode == 0
    assert set(pusher.tags(WEB)) == {"2.0"}


async def test_in_the_library(program: Program, pusher: Pusher, tmp_path: Path) -> None:
    stray = pusher.push_image(WEB, seed="stray")["digest"]
    tagged = pusher.push_image(WEB, "1.0", seed="one")["digest"]
    async with dregutil.connect(program.url, state_dir=tmp_path / "library", contents=None) as registry:
        plan = await registry.plan_removal(WEB, digests=[stray])
        assert plan.command == f"plan_removal('{WEB}', digests=['{stray}'], with_tags=False)"
        assert [kept.reason for kept in (await registry.plan_removal(WEB, digests=[tagged[7:]])).kept] == [
            TAGS_NOT_NAMED
        ]
        assert (await registry.plan_removal(WEB, digests=[tagged], with_tags=True)).removed_tags == 1
        run = await registry.apply(await registry.plan_removal(WEB, digests=[stray]))
        assert [outcome.step.digest for outcome in run.removed] == [stray]
        with pytest.raises(NotFoundError, match="has no manifest"):
            await registry.plan_removal(WEB, digests=[stray])
        with pytest.raises(UsageError, match="no digest"):
            await registry.plan_removal(WEB, digests=[])
        with pytest.raises(UsageError, match="without other selectors"):
            await registry.plan_removal(WEB, digests=[tagged], tags=["1.0"])
        with pytest.raises(UsageError, match="with_tags belongs to digests"):
            await registry.plan_removal(WEB, with_tags=True, tags=["1.0"])
        for names in ((), (WEB, "b")):
            with pytest.raises(UsageError):
                await registry.plan_removal(*names, digests=[tagged])
        with pytest.raises(TypeError, match="list of digests"):
            await registry.plan_removal(WEB, digests=tagged)
    assert pusher.tags(WEB) == {"1.0": tagged}


def test_in_the_library_without_a_loop(program: Program, pusher: Pusher, tmp_path: Path) -> None:
    stray = pusher.push_image(WEB, seed="stray")["digest"]
    with dregutil.open(program.url, state_dir=tmp_path / "library", contents=None) as registry:
        registry.apply(registry.plan_removal(WEB, digests=[stray]))
        assert not pusher.has(WEB, stray)
        with pytest.raises(TypeError):
            registry.plan_removal(WEB, digests=stray)
        registry.undo()
    assert pusher.is_whole(WEB, stray)


def test_a_held_image_and_its_children_stay(program: Program, pusher: Pusher) -> None:
    child = pusher.push_image(WEB, seed="child")
    index = pusher.push_index(WEB, "1.0", children=[child])
    assert program.run("hold", f"{WEB}:1.0").returncode == 0
    before = pusher.tags(WEB)
    for one in (index, child):
        found = remove(program, one, "--with-tags", "-y")
        assert (found.returncode, found.stdout) == (0, "")
        assert "KEEP" in found.stderr
    assert pusher.tags(WEB) == before
    assert pusher.is_whole(WEB, "1.0")


def test_an_index_around_one_that_is_broken_stays_since_undo_could_not_put_it_back(
    program: Program, pusher: Pusher
) -> None:
    lost, other = pusher.push_image(WEB, seed="lost"), pusher.push_image(WEB, "1.0", seed="other")
    inner = pusher.push_index(WEB, children=[lost])
    outer = pusher.push_index(WEB, children=[inner, other])
    pusher.request("DELETE", f"/v2/{WEB}/manifests/{lost['digest']}")
    done = remove(program, outer, "-y")
    assert "a child of this index is missing" in done.stderr
    assert pusher.has(WEB, outer["digest"])


async def test_a_tag_of_the_same_store_under_another_name_is_not_lost(tmp_path: Path) -> None:
    """`b` is another name of `a`, as behind a proxy: what is deleted in one goes from both."""
    with MemoryServer() as server, Pusher(server.url) as pusher:
        image = pusher.push_image("a", "1.0", seed="one")
        pusher.push_image("a", "2.0", seed="two")
        server.repositories["b"] = server.repositories["a"]
        async with dregutil.connect(server.url, state_dir=tmp_path, contents=None) as registry:
            plan = await registry.plan_removal("a", digests=[image["digest"]], with_tags=True)
            assert [step.also_in for step in plan.steps] == [("b",)]
            run = await registry.apply(plan)
        assert run.error is not None
        assert "also went from b; it was put back" in run.error.message
        assert set(pusher.tags("b")) == {"1.0", "2.0"}
