"""`python bench/report.py [TAGS …]`: `report` of a warm inventory with a plan; by default 10,200 and 200,000 tags.

The registry is that of `du`; the plan removes every third tag, as a policy would. The goal is 2 s and 1 MB for 10,200
tags.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from du import generate, key, measure, repositories

from dregutil.oci.names import Digest, Repository, Tag
from dregutil.plan.file import save_plan
from dregutil.plan.model import Action, Plan, PolicySource, Reclaim, Step, StepKind

FORMS = {"page": ["-o", "report.html"], "Markdown": ["-o", "report.md"], "JSON": ["-o", "report.json"]}


def main(sizes: list[int]) -> None:
    print("| tags | what | CPU | wall clock | peak memory | size |\n|---|---|---|---|---|---|")
    for tags in sizes:
        folder = Path(tempfile.mkdtemp(prefix="dregutil-bench-"))
        try:
            generate(folder, tags)
            save_plan(plan(tags), folder / "plan.jsonl")
            measure(folder, ["du"])  # checks every row
            for what, options in FORMS.items():
                cpu, wall, memory = measure(folder, ["report", "--plan", "plan.jsonl", *options])
                size = (folder / options[-1]).stat().st_size / 1e3
                print(
                    f"| {tags:,} | {what} | {cpu:.2f} s | {wall:.2f} s | {memory:,.0f} MB | {size:,.0f} kB |",
                    flush=True,
                )
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def plan(tags: int) -> Plan:
    steps = tuple(steps_of(tags))
    freed = sum(step.frees for step in steps)
    source = PolicySource("/etc/dregutil/policy.yml", (("cluster.txt", 7200.0),))
    return Plan(
        "registry.example.com", datetime.now(UTC), "cleanup -f policy.yml", steps, reclaim=Reclaim(freed), policy=source
    )


def steps_of(tags: int) -> Iterator[Step]:
    number = 0
    for repository, listed in repositories(tags):
        name = Repository(f"team{repository % 20}/app{repository}")
        for tag in range(0, listed, 3):
            number += 1
            digest = Digest.of_key(key("manifest", repository, tag))
            because = f"releases: beyond last: {tag % 5}"
            yield Step(
                number, Action.DELETE, name, digest, (Tag(f"1.{tag}"),), StepKind.IMAGE, because, frees=1_000_000 + tag
            )


if __name__ == "__main__":
    main([int(text) for text in sys.argv[1:]] or [10_200, 200_000])
