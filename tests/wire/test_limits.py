"""How much a cleanup may remove: `max_remove`, exact to the tag, and `--limit`, which makes progress every night."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from dregutil.errors import UsageError
from dregutil.oci.names import Repository, Tag
from dregutil.retention.judge import judge
from dregutil.retention.policyfile import read_policy
from dregutil.retention.proposal import limited
from dregutil.retention.verdict import Judgement, TagFacts
from histories import NOW, digest_of
from images import Pusher, created
from program import Program
from servers import DistributionServer

APP = Repository("app")
KEEP_ONE = """version: 1
defaults: {max_remove: 100%}
policies: [{name: p, repositories: ["**"], keep: {last: 1}}]
"""


def _policy(more: str) -> str:
    return f"version: 1\npolicies: [{{name: p, repositories: [app], keep: {{last: 1}}, {more}}}]"


@pytest.mark.parametrize("text", ["29%", "58%", "0.7%", "33.3%"])
def test_max_remove_is_exact_for_every_number_of_tags(text: str) -> None:
    limit = read_policy(_policy(f"max_remove: {text}")).policies[0].max_remove
    per_mille = round(float(text[:-1]) * 10)
    assert limit.text == text
    for selected in range(1, 1001):
        most = selected * per_mille // 1000
        assert limit.allows(most, selected)
        assert not limit.allows(most + 1, selected)


def test_every_whole_percentage_is_exact() -> None:
    for share in range(101):
        limit = read_policy(_policy(f"max_remove: {share}%")).policies[0].max_remove
        assert limit.allows(share, 100)
        assert not limit.allows(share + 1, 100)


def test_a_group_missing_from_one_of_several_expressions_is_reported() -> None:
    with pytest.raises(UsageError) as failed:
        read_policy(_policy("group_by: branch, select: {regex: ['(?P<branch>.+)-x', '(?P<other>.+)-y']}"))
    assert "the group 'branch' must be in every regular expression: '(?P<other>.+)-y' lacks it" in str(failed.value)


def _judged(*facts: TagFacts) -> Judgement:
    return judge(read_policy(KEEP_ONE), {APP: facts}, now=NOW)


def _facts(tag: str, days: float, digest: str = "", children: tuple[str, ...] = ()) -> TagFacts:
    contains = tuple(digest_of(child) for child in children)
    return TagFacts(Tag(tag), digest_of(digest or tag), NOW - timedelta(days=days), contains=contains)


def _chosen(judgement: Judgement, number: int | None) -> set[str]:
    return {str(verdict.facts.tag) for verdict in limited(judgement, number)}


def test_an_image_that_does_not_fit_is_skipped() -> None:
    judged = _judged(
        *(_facts(f"old-{n}", 50, "old") for n in range(3)), _facts("b", 40), _facts("c", 30), _facts("d", 2)
    )
    assert _chosen(judged, 2) == {"b", "c"}
    assert _chosen(judged, 3) == {"old-0", "old-1", "old-2"}
    assert _chosen(judged, 4) == {"old-0", "old-1", "old-2", "b"}
    assert _chosen(judged, None) == {"old-0", "old-1", "old-2", "b", "c"}


def test_an_index_and_its_removed_children_are_one_group_as_old_as_its_newest() -> None:
    judged = _judged(
        _facts("multi", 20, children=("amd64", "arm64")),
        _facts("amd64", 50),
        _facts("arm64", 49),
        _facts("between", 30),
        _facts("newest", 2),
    )
    assert _chosen(judged, 1) == {"between"}
    assert _chosen(judged, 3) == {"between"}
    assert _chosen(judged, 4) == {"between", "multi", "amd64", "arm64"}


def test_a_limit_makes_progress_every_night_past_what_is_held(
    registry_server: DistributionServer, pusher: Pusher, tmp_path: Path
) -> None:
    """Children with their own tags, of an index that no policy selects: the oldest, and held."""
    program = Program(registry_server.url, tmp_path)
    (program.folder / "policy.yml").write_text(KEEP_ONE.replace("keep:", "select: {tags: 'v*'}, keep:"))
    children = [pusher.push_image("app", f"v{n}", seed=f"child {n}", config=created(90 + n)) for n in range(2)]
    pusher.push_index("app", "multi", children=children)
    for number in range(4):
        pusher.push_image("app", f"v1{number}", seed=f"{number}", config=created(30 - number))
    for left in (2, 1, 0):
        done = program.run("cleanup", "-f", "policy.yml", "-y", "--limit", "1")
        assert done.returncode == 0, done.stderr
        assert f"--limit 1 leaves {left + 2} tags for later runs" in done.stderr
        assert {tag for tag in pusher.tags("app") if tag.startswith("v1") and len(tag) == 3} == {
            f"v1{number}" for number in range(3 - left, 4)
        }
    assert pusher.is_whole("app", "multi")
    assert {"v0", "v1"} <= set(pusher.tags("app"))
