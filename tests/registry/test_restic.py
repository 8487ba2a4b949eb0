"""restic is the oracle for the time rules: with the same dates, `restic forget` keeps the same set.

A backup takes most of a second, so the histories are short here; `./test --long` uses longer ones.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dregutil.oci.names import Repository, Tag
from dregutil.retention.judge import judge
from dregutil.retention.policy import Calendar, KeepRule, Last, ParsedPolicy, Period, PolicySet, Within
from dregutil.retention.verdict import TagFacts
from dregutil.select.glob import parse_glob
from histories import digest_of

# Long past: a snapshot that is in the future by the machine's own clock is not restic's newest.
NOW = datetime(2024, 3, 10, 12, tzinfo=UTC)
_LONG = int(os.environ.get("DREGUTIL_LONG", "0"))
_HISTORIES, _MOMENTS = (12, 25) if _LONG else (1, 8)


@dataclass(frozen=True)
class Restic:
    """A restic repository, in which each snapshot is an empty file with its own date."""

    folder: Path

    def run(self, *arguments: str) -> str:
        environment = {
            "PATH": os.environ["PATH"],
            "LD_LIBRARY_PATH": os.environ.get("LD_LIBRARY_PATH", ""),
            "RESTIC_REPOSITORY": str(self.folder / "repository"),
            "RESTIC_PASSWORD": "x",
            "HOME": str(self.folder),
            "TZ": "UTC",
        }
        done = subprocess.run(
            ["restic", "--no-cache", *arguments],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def back_up(self, moment: datetime) -> None:
        self.run("backup", "--host", "h", "--time", f"{moment:%Y-%m-%d %H:%M:%S}", "file")

    def kept(self, *rules: str) -> set[datetime]:
        (group,) = json.loads(self.run("forget", "--dry-run", "--json", *rules))
        return {datetime.fromisoformat(snapshot["time"]).astimezone(UTC) for snapshot in group["keep"]}


def moments(chance: random.Random) -> list[datetime]:
    """Random dates, dense and sparse, some on one day; the last is that of the plan, from which restic counts."""
    found = {NOW}
    while len(found) < _MOMENTS:
        scale = chance.choice((3, 60, 900))
        found.add(NOW - timedelta(seconds=chance.randrange(1, scale * 86400)))
    return sorted(found)


def rules(chance: random.Random) -> tuple[list[str], list[KeepRule]]:
    words: list[str] = []
    found: list[KeepRule] = []
    for period in Period:
        number = chance.choice((0, 0, 1, 2, 3, 5))
        if number:
            words += [f"--keep-{period.value}", str(number)]
            found.append(Calendar(period, number, period.value))
    if chance.random() < 0.4:
        hours = chance.randrange(1, 60 * 24)
        words += ["--keep-within", f"{hours // 24}d{hours % 24}h"]
        found.append(Within(timedelta(hours=hours), "within"))
    if not found or chance.random() < 0.4:
        number = chance.randrange(1, 6)
        words += ["--keep-last", str(number)]
        found.append(Last(number, "last"))
    return words, found


@pytest.mark.property
@pytest.mark.parametrize("seed", range(_HISTORIES))
def test_the_same_set_is_kept(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    restic = Restic(tmp_path)
    (tmp_path / "file").write_text("")
    restic.run("init")
    history = moments(chance)
    for moment in history:
        restic.back_up(moment)
    tags = {Tag(f"t{number}"): moment for number, moment in enumerate(history)}
    facts = [TagFacts(tag, digest_of(tag), moment) for tag, moment in tags.items()]
    for _ in range(20 if _LONG else 4):
        words, keep = rules(chance)
        policy = ParsedPolicy("p", (parse_glob("**"),), tuple(keep), min_age=timedelta(0), allow_empty=True)
        judged = judge(PolicySet((policy,)), {Repository("app"): facts}, now=NOW)
        kept = {tags[Tag(verdict.facts.tag or "")] for verdict in judged if not verdict.goes}
        assert kept == restic.kept(*words), words
