"""`./try`: shows the tool on a temporary registry with a few images.

`./try --serve` opens the pages of one with more in it, and a plan that waits for approval, until Ctrl-C. `./try --team`
shows a shared store, an approval, and a worker that is killed in the middle.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from demo import fill_teams, write_policy  # noqa: E402 - the path is set above

from images import Pusher  # noqa: E402
from servers import DistributionServer, free_port  # noqa: E402

CACHE = ROOT / ".cache"
DELETION = ("-e", "REGISTRY_STORAGE_DELETE_ENABLED=true")
PROGRAM = Path(sys.executable).with_name("dregutil")


def main(arguments: list[str]) -> int:
    if arguments not in ([], ["--serve"], ["--team"]):
        sys.exit(f"./try {' '.join(arguments)}: only --serve or --team can follow")
    for one in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(one, lambda *_: sys.exit(1))  # through all that ends what was begun
    folder = Path(tempfile.mkdtemp(prefix="dregutil-try-"))
    try:
        with registry(folder) as (url, server):
            pusher = Pusher(url)
            host = url.partition("://")[2]
            if arguments == ["--serve"]:
                return serve(host, folder, pusher)
            good = together(url, folder, pusher) if arguments else alone(host, folder, pusher, server)
            pusher.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print("\n== done, the registry is gone" if good else "\n== something went wrong")
    return 0 if good else 1


def alone(host: str, folder: Path, pusher: Pusher, server: DistributionServer | None) -> bool:
    """One person's removal, its undo, and the registry's garbage collector."""
    fill(pusher)
    good = show(host, folder, pusher)
    return good if server is None else collect(host, folder, pusher, server) and good


def together(url: str, folder: Path, pusher: Pusher) -> bool:
    """What a team does with a shared store."""
    try:
        from try_team import team
    except ImportError as error:
        sys.exit(f"{error.name} is missing: pip install '.[team]'")
    return team(url, folder, pusher)


@contextlib.contextmanager
def registry(folder: Path) -> Iterator[tuple[str, DistributionServer | None]]:
    """A real registry: installed, unpacked from Debian's package, or as a container. Yields its URL, and its server if
    its storage is on this machine."""
    if not _installed():
        _unpack()
    if _installed():
        with DistributionServer(folder / "registry") as server:
            yield server.url, server
        return
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "info"], capture_output=True, check=False).returncode != 0:
        sys.exit(
            "no registry to try it on: neither docker-registry nor registry is on PATH, Debian's package could not be\n"
            "fetched (on Debian and Ubuntu, `apt-get update` first), and no Docker engine runs"
        )
    port = free_port()
    made = subprocess.run(
        [docker, "run", "-d", "--rm", "-p", f"127.0.0.1:{port}:5000", *DELETION, "registry:2"],
        check=True,
        capture_output=True,
        text=True,
    )
    try:
        yield f"http://127.0.0.1:{port}", None
    finally:
        subprocess.run([docker, "stop", made.stdout.strip()], check=False, capture_output=True)


def _installed() -> bool:
    folders = [os.environ.get("PATH", ""), str(CACHE / "debian" / "usr" / "bin")]
    return any(shutil.which(name, path=os.pathsep.join(folders)) for name in ("docker-registry", "registry"))


def _unpack() -> None:
    """Unpack Debian's package into the project's cache, without root. Configures nothing and starts no service."""
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        return
    archives = CACHE / "archives"
    archives.mkdir(parents=True, exist_ok=True)
    print("== fetching Debian's docker-registry into .cache", flush=True)
    for attempt in range(2):
        got = subprocess.run(["apt-get", "download", "-qq", "docker-registry"], cwd=archives, check=False)
        if got.returncode == 0:
            break
        if attempt == 0 and os.geteuid() == 0:
            subprocess.run(["apt-get", "update", "-qq"], check=False)
    for package in archives.glob("docker-registry_*.deb"):
        subprocess.run(["dpkg", "-x", str(package), str(CACHE / "debian")], check=True)


def fill(pusher: Pusher) -> None:
    for version in ("1.0", "1.1", "1.3", "1.10", "2.0", "2.1"):
        pusher.push_image("shop/web", version, seed=version)
    pusher.push_image("shop/web", "1.3.2", "stable", seed="the stable one")
    children = [
        {**pusher.push_image("shop/web", seed=name), "platform": {"os": "linux", "architecture": name}}
        for name in ("amd64", "arm64")
    ]
    index = pusher.push_index("shop/web", "1.2", "1.2.0", children=children)
    pusher.push_image("shop/web", f"sha256-{index['digest'][7:]}.sig", seed="signature")
    pusher.push_image("shop/api", "1.0", "latest", seed="api")


def show(host: str, folder: Path, pusher: Pusher) -> bool:
    before = pusher.tags("shop/web")
    removal = [
        ("doctor",),
        ("ls",),
        ("remove-tags", "-r", "shop/web", "-t", "<1.4", "--plan-out", "plan.jsonl"),
        ("apply", "plan.jsonl", "-y"),
        ("ls", "shop/web"),
    ]
    codes = [_run(host, folder, *line) for line in removal]
    after = pusher.tags("shop/web")
    stay = {"1.3.2", "stable", "1.10", "2.0", "2.1"}
    whole = set(after) == stay and all(pusher.is_whole("shop/web", tag) for tag in after)
    print(f"\n== {len(before) - len(after)} tags removed, {len(after)} left: ", end="")
    print("all of them complete" if whole else "NOT all of them complete")
    codes += [_run(host, folder, *line) for line in (("history",), ("undo", "shop/web:1.2", "-y"), ("ls", "shop/web"))]
    one = {name: digest for name, digest in before.items() if name == "1.2" or name.startswith("sha256-")}
    alone = pusher.tags("shop/web") == {**after, **one} and all(pusher.is_whole("shop/web", tag) for tag in one)
    print("\n== one image is restored, with its platforms and its signature" if alone else "\n== NOT restored")
    whole = whole and alone
    codes += [_run(host, folder, *line) for line in (("undo", "-y"), ("ls", "shop/web"))]
    back = pusher.tags("shop/web") == before and all(pusher.is_whole("shop/web", tag) for tag in before)
    print("\n== everything is restored" if back else "\n== NOT everything is restored")
    return codes == [0] * len(codes) and whole and back


def serve(host: str, folder: Path, pusher: Pusher) -> int:
    """The pages of a registry with more in it, and one removal in its history; until they are ended."""
    print(f"== pushing {fill_teams(pusher):,} tags to a temporary registry", flush=True)
    pusher.close()
    _run(host, folder, "remove-tags", "-r", "infra/proxy", "-t", "<1.3", "-y")
    policy = write_policy(folder)
    print(f"\n$ dregutil serve -f {policy.name}", flush=True)
    server = subprocess.Popen(
        [str(PROGRAM), "serve", "--addr", f"127.0.0.1:{_port()}", "-f", str(policy)],
        cwd=folder,
        env=_variables(host, folder),
    )
    for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(one, lambda *_: server.send_signal(signal.SIGTERM))  # it ends what it does, and then the registry
    return server.wait()


def _port() -> int:
    """That of `serve`, or a free one if something has it."""
    with contextlib.suppress(OSError), socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", 8090))
        return 8090
    return free_port()


def collect(host: str, folder: Path, pusher: Pusher, server: DistributionServer) -> bool:
    """Remove again, predict the freed space from the storage, and run the registry's own garbage collector."""
    print("\n== now the space: predicted, then freed by the registry's own garbage collector")
    storage = ("--storage", str(server.storage))
    held = [f"shop/web:{tag}" for tag in ("1.0", "1.1", "1.2", "1.2.0", "1.3")]
    codes = [
        _run(host, folder, "hold", "--end", *held),
        _run(host, folder, "remove-tags", "-r", "shop/web", "-t", "<1.4", *storage, "--plan-out", "freed.jsonl"),
        _run(host, folder, "apply", "freed.jsonl", "-y"),
    ]
    usage = json.loads((folder / "freed.jsonl").read_text().splitlines()[0])["usage"]
    pusher.close()
    server.stop()
    before = _bytes(server)
    print("\n$ docker-registry garbage-collect config.yml", flush=True)
    server.garbage_collect()
    freed = before - _bytes(server)
    server.start()
    predicted = usage["reclaimable_bytes"]
    print(f"predicted: {'exactly' if usage['exact'] else 'at most'} {predicted:,} bytes; freed: {freed:,} bytes")
    tags = pusher.tags("shop/web")
    whole = all(pusher.is_whole("shop/web", tag) for tag in tags)
    print(f"== {'equal' if freed == predicted else 'NOT equal'}; the rest is {'complete' if whole else 'NOT complete'}")
    codes.append(_run(host, folder, "doctor", *storage))
    return codes == [0] * len(codes) and freed == predicted and usage["exact"] and whole


def _bytes(server: DistributionServer) -> int:
    return sum(found.stat().st_size for found in server.storage.rglob("blobs/**/data"))


def _run(host: str, folder: Path, *arguments: str) -> int:
    shown = " ".join(f"'{part}'" if "<" in part else part for part in arguments)
    print(f"\n$ dregutil {shown}", flush=True)
    return subprocess.run(
        [str(PROGRAM), *arguments],
        cwd=folder,
        env=_variables(host, folder),
        check=False,
    ).returncode


def _variables(host: str, folder: Path) -> dict[str, str]:
    """A state folder and caches of its own."""
    own = {"REGISTRY": host, "DREGUTIL_STATE_DIR": str(folder / "state"), "XDG_CACHE_HOME": str(folder / "cache")}
    return {**os.environ, **own}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
