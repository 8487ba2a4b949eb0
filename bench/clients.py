"""`python bench/clients.py`: distribution 3 read and cleaned by `dregutil`, by `crane` and `regctl`, and by a program
that does nothing else, side by side.

100 repositories of 51 tags, and one of 3,000; prints a Markdown table. `crane` and `regctl` are started for each tag or
digest, 8 at once, as a script would: they have no command for many.
"""

from __future__ import annotations

import json
import shutil
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from support import OURS, UNHURRIED, Timed, compile_ours, fill, replayed, timed

from servers import find_program
from servers.real import Distribution3Server

REPOSITORIES, TAGS = 100, 51
TOTAL = REPOSITORIES * TAGS
LARGE = 3000
SAMPLE = 200  # tags that crane and regctl read, or digests that they delete
AT_ONCE = 8


def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="dregutil-bench-"))
    compile_ours()
    try:
        rows = [*_crawl(folder), *_removal(folder), *_large(folder)]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print("| what | wall clock | CPU of the client |\n|---|---|---|")
    for row in rows:
        print(f"| {' | '.join(row)} |")


def _name(number: int) -> str:
    return f"team{number % 10}/app{number}"


def _each(client: Sequence[str], references: Sequence[str], folder: Path) -> Timed:
    """Run a client for each reference, some at once."""
    (folder / "references").write_text("\n".join(references))
    command = ["xargs", "-a", "references", "-n", "1", "-P", str(AT_ONCE), find_program(client[0]), *client[1:]]
    return timed(command, folder, HOME=str(folder), DOCKER_CONFIG=str(folder))


def _regctl(server: Distribution3Server) -> tuple[str, ...]:
    return ("regctl", "--host", f"reg={server.host},tls=disabled")


def _per(found: Timed, count: int) -> tuple[str, str]:
    return f"{found.wall / count * 1000:.2f} ms each", f"{found.cpu / count * 1000:.2f} ms each"


def _start(folder: Path) -> Timed:
    return min((timed([OURS, "--version"], folder) for _ in range(3)), key=lambda found: found.wall)


def _crawl(folder: Path) -> list[tuple[str, str, str]]:
    server = Distribution3Server(folder / "crawl", cache=True, variables=UNHURRIED)
    fill(server.storage, REPOSITORIES, TAGS)
    paths = [f"/v2/{_name(n)}/manifests/1.{tag}" for n in range(REPOSITORIES) for tag in range(TAGS)]
    tags = [f"{server.host}/{_name(n)}:1.0" for n in range(REPOSITORIES)] * (SAMPLE // REPOSITORIES)
    with server:
        bare = replayed(server.port, 32, [[f"HEAD {path}" for path in paths]], folder)
        runs = [timed([OURS, "-reg", server.url, "-c", "c.json", "refresh"], folder) for _ in range(3)]
        ours = Timed(
            statistics.median(run.wall for run in runs), statistics.median(run.cpu for run in runs), runs[0].output
        )
        crane = _each(("crane", "digest", "--insecure"), tags, folder)
        regctl = _each((*_regctl(server), "manifest", "head"), tags, folder)
    start = _start(folder)
    return [
        ("a tag's digest: bare HEADs, 32 at once", f"{bare / TOTAL * 1000:.2f} ms each", ""),
        ("a tag's digest: dregutil refresh, start-up taken off", *_per(_less(ours, start), TOTAL)),
        ("a tag's digest: crane digest", *_per(crane, len(tags))),
        ("a tag's digest: regctl manifest head", *_per(regctl, len(tags))),
    ]


def _less(found: Timed, start: Timed) -> Timed:
    return Timed(found.wall - start.wall, found.cpu - start.cpu, found.output)


def _removal(folder: Path) -> list[tuple[str, str, str]]:
    """20 of 51 tags of each repository."""
    doomed = 20
    server = Distribution3Server(folder / "removal", cache=True, variables=UNHURRIED)
    fill(server.storage, REPOSITORIES + 3 * SAMPLE // TAGS + 3, TAGS)
    with server:
        base = [OURS, "-reg", server.url, "-c", "r.json", "--state-dir", folder / "state"]
        timed([*base, "refresh"], folder)
        digests = json.loads((folder / "r.json").read_text())
        names = [_name(number) for number in range(REPOSITORIES)]
        line = ["remove-tags", "-r", *names, "-t", f"<1.{doomed}", "--yes-remove", str(doomed * REPOSITORIES)]
        ours = timed([*base, *line], folder)
        assert f"removed {doomed * REPOSITORIES:,} tags" in ours.output, ours.output[-300:]
        others = [(name, digest) for name in sorted(set(digests) - set(names)) for digest in digests[name].values()]
        samples = [others[place * SAMPLE : (place + 1) * SAMPLE] for place in range(3)]
        crane = _each(("crane", "delete", "--insecure"), _references(server, samples[0]), folder)
        regctl = _each((*_regctl(server), "manifest", "delete"), _references(server, samples[1]), folder)
        bare = replayed(server.port, 16, [[f"DELETE /v2/{n}/manifests/{d}" for n, d in samples[2]]], folder)
    return [
        ("a digest removed: bare DELETEs, 16 at once, no look", f"{bare / SAMPLE * 1000:.2f} ms each", ""),
        ("a digest removed: dregutil, with record and all looks", *_per(ours, doomed * REPOSITORIES)),
        ("a digest removed: crane delete, no look", *_per(crane, SAMPLE)),
        ("a digest removed: regctl manifest delete, no look", *_per(regctl, SAMPLE)),
    ]


def _references(server: Distribution3Server, chosen: Sequence[tuple[str, str]]) -> list[str]:
    return [f"{server.host}/{name}@{digest}" for name, digest in chosen]


def _large(folder: Path) -> list[tuple[str, str, str]]:
    """Nine tenths of one repository."""
    server = Distribution3Server(folder / "large", cache=True)
    fill(server.storage, 1, LARGE)
    name, doomed = _name(0), LARGE * 9 // 10 - 2 * SAMPLE
    with server:
        base = [OURS, "-reg", server.url, "-c", "l.json", "--state-dir", folder / "state-large"]
        timed([*base, "refresh"], folder)
        digests = json.loads((folder / "l.json").read_text())[name]
        numbers = iter(range(LARGE - 1, -1, -1))
        samples = [
            [f"DELETE /v2/{name}/manifests/{digests[f'1.{next(numbers)}']}" for _ in range(SAMPLE)] for _ in (0, 1)
        ]
        first = replayed(server.port, 4, [samples[0]], folder)
        ours = timed(
            [*base, "--refresh", "remove-tags", "-r", name, "-t", f"<1.{doomed}", "--yes-remove", str(doomed)], folder
        )
        last = replayed(server.port, 4, [samples[1]], folder)
    plain = (first + last) / 2 / SAMPLE * doomed
    return [
        (
            f"{doomed:,} of {LARGE:,} tags of one repository: dregutil, against one DELETE a digest, 4 at once "
            f"({first / SAMPLE * 1000:.0f} ms each before, {last / SAMPLE * 1000:.0f} ms after: {plain:.0f} s)",
            f"{ours.wall:.1f} s, {plain / ours.wall:.1f} ×",
            f"{ours.cpu:.1f} s",
        )
    ]


if __name__ == "__main__":
    sys.exit(main())
