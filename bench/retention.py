"""`python bench/retention.py`: judging tags by a policy, 10,000 in one repository and 1,000,000 in a registry. All of
`judge`, in a separate process for each size; dates and digests are known."""

from __future__ import annotations

import gc
import random
import resource
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta

from dregutil.oci.names import Digest, Repository, Tag
from dregutil.retention.judge import judge
from dregutil.retention.policyfile import read_policy
from dregutil.retention.verdict import TagFacts

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
POLICY = """version: 1
timezone: Europe/Berlin
protect: {tags: [latest, "stable-*"]}
policies:
  - name: releases
    repositories: ["**"]
    select: {version: ">=1.0"}
    group_by: minor
    keep: {last: 3, within: 90d, daily: 7, weekly: 4, monthly: 12}
    order: version
  - name: branches
    repositories: ["**"]
    select: {regex: '(?P<branch>.+)-[0-9a-f]{7,40}'}
    group_by: branch
    keep: {last: 5, within: 14d, monthly: 6}
"""


def facts(chance: random.Random, number: int) -> list[TagFacts]:
    """Half versions, half builds of branches; created over two years, one in ten with the same image as another."""
    digests = [Digest(f"sha256:{chance.getrandbits(256):064x}") for _ in range(number * 9 // 10 or 1)]
    found = []
    for place in range(number):
        if place % 2:
            name = f"{1 + place % 4}.{place // 8 % 40}.{place // 320}"
        else:
            name = f"branch{place % 40}-{chance.getrandbits(28):07x}"
        created = NOW - timedelta(seconds=chance.randrange(730 * 86400))
        found.append(TagFacts(Tag(name), digests[place % len(digests)], created, known_since=NOW - timedelta(days=9)))
    return found


def measure(repositories: int, tags: int) -> None:
    gc.set_threshold(50_000, 20, 20)  # as the program
    chance = random.Random(1)
    registry = {Repository(f"team{n % 10}/app{n}"): facts(chance, tags) for n in range(repositories)}
    policies = read_policy(POLICY)
    started, cpu = time.perf_counter(), time.process_time()
    judged = judge(policies, registry, now=NOW)
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    gone = sum(1 for _ in judged.removed())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    took = f"{seconds:.2f} s ({cpu:.2f} s of CPU), {peak:,.0f} MB"
    print(f"{repositories * tags:,} tags in {repositories:,} repositories: {took}, {gone:,} go")


def main() -> None:
    if len(sys.argv) == 3:
        measure(int(sys.argv[1]), int(sys.argv[2]))
        return
    for repositories, tags in ((1, 10_000), (2_000, 500)):
        subprocess.run([sys.executable, __file__, str(repositories), str(tags)], check=True)


if __name__ == "__main__":
    main()
