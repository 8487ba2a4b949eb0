"""The container image: built twice, looked into, pushed to real registries, pulled, run; it cleans up old builds."""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from elf import read_elf
from image import lock, wheels
from image.attest import Inputs
from image.build import CACHE, Builder, new_wheel
from image.bytecode import HOST
from image.debian import ARCHITECTURES, WANTED, BuildError, DebianPackage, fetch
from image.oci import Blob, Layout
from image.push import main as push

from images import Pusher
from servers import DistributionServer, find_program

PROJECT = Path(__file__).parents[2]
EPOCH = 1_780_000_000
HOME = "var/lib/dregutil"
EXTRAS = """
import botocore.session, obstore.store, procrastinate, psycopg, ssl, zoneinfo, datetime
winter = datetime.datetime(2026, 12, 1, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin"))
known = {"region_name": "eu-west-1", "aws_access_key_id": "none", "aws_secret_access_key": "none"}
sts = botocore.session.get_session().create_client("sts", **known)
trusted = len(ssl.create_default_context().get_ca_certs()) > 100
print(psycopg.pq.__impl__, winter.tzname(), trusted, type(sts).__name__)
"""
SBOM, PROVENANCE = "application/vnd.cyclonedx+json", "application/vnd.in-toto+json"
SOURCE = "https://git.example.com/dregutil"
REPOSITORY = "tools/dregutil"
ON = ("distribution-2.8", "distribution-3", "zot")


@pytest.fixture(scope="module")
def locks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What Debian's mirror has today, and the pinned wheels: a security update must not end these tests."""
    for program in ("apt-get", "dpkg-deb", "gpgv"):
        if shutil.which(program) is None:
            pytest.skip(f"the image is built from Debian's packages, and there is no {program} here")
    folder = tmp_path_factory.mktemp("locks")
    shutil.copy(lock.wheels_of(lock.FOLDER), folder)
    try:
        lock.update(folder, CACHE, with_wheels=False)
    except BuildError as error:
        pytest.skip(f"Debian's packages cannot be resolved here: {error}")
    return folder


@pytest.fixture(scope="module")
def again(locks: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[subprocess.Popen[str]]:
    """A build in a process that differs in what must not matter: folder, umask, time zone, order of sets."""
    folder = tmp_path_factory.mktemp("again")
    command = [sys.executable, PROJECT / "tools/image/build.py", "-o", "image", "--locks", locks, "--epoch", str(EPOCH)]
    environment = os.environ | {"PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo", "LC_ALL": "C", "TMPDIR": str(folder)}
    with subprocess.Popen(
        [*map(str, command), "--revision", "abc", "--source", SOURCE],
        cwd=folder,
        env=environment,
        umask=0o077,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        yield process


@pytest.fixture(scope="module")
def builder(again: subprocess.Popen[str], locks: Path) -> Iterator[tuple[Builder, wheels.Wheel]]:
    """With dregutil's wheel. The other build goes on meanwhile."""
    with tempfile.TemporaryDirectory() as folder:
        own = wheels.wheel_of(new_wheel(Path(folder), EPOCH))
        yield Builder(ARCHITECTURES, locks, CACHE, Path(folder)), own


@pytest.fixture(scope="module")
def layout(builder: tuple[Builder, wheels.Wheel], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("image")
    make, own = builder
    make.build(Inputs(own.version, EPOCH, "abc", SOURCE, (), ()), own, own.version).write(folder)
    return folder


@pytest.fixture(scope="module")
def older(builder: tuple[Builder, wheels.Wheel]) -> list[Layout]:
    """Earlier builds. They have the layers of packages in common with today's."""
    make, own = builder
    versions = {"2.8.0": EPOCH - 9_000_000, "2.9.0": EPOCH - 5_000_000}
    return [make.build(Inputs(one, epoch, "", "", (), ()), own, one) for one, epoch in versions.items()]


def blob(layout: Path, descriptor: dict[str, Any]) -> bytes:
    raw: bytes = (layout / "blobs" / descriptor["digest"].replace(":", "/")).read_bytes()
    return raw


def listed(layout: Path) -> tuple[dict[str, Any], dict[str, dict[str, Any]], list[dict[str, Any]]]:
    """The descriptors of the tagged index, of its images by architecture, and of what refers to them."""
    top, *referrers = json.loads((layout / "index.json").read_bytes())["manifests"]
    images = {one["platform"]["architecture"]: one for one in json.loads(blob(layout, top))["manifests"]}
    return top, images, referrers


def entries(layout: Path, architecture: str) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    manifest = json.loads(blob(layout, listed(layout)[1][architecture]))
    for layer in manifest["layers"]:
        with tarfile.open(fileobj=io.BytesIO(gzip.decompress(blob(layout, layer)))) as archive:
            for one in archive:
                content = archive.extractfile(one) if one.isfile() else None
                yield one, b"" if content is None else content.read()


def attached(layout: Path, kind: str) -> dict[str, dict[str, Any]]:
    """What is attached, by the digest that it is attached to."""
    found = {}
    for one in listed(layout)[2]:
        manifest = json.loads(blob(layout, one))
        if one["artifactType"] == manifest["artifactType"] == kind:
            found[manifest["subject"]["digest"]] = json.loads(blob(layout, manifest["layers"][0]))
    return found


def test_two_builds_are_the_same(
    layout: Path, again: subprocess.Popen[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    printed, errors = again.communicate()
    assert again.returncode == 0, errors
    second = next(tmp_path_factory.getbasetemp().glob("again*")) / "image"
    assert files(layout) == files(second)
    top, images, _ = listed(layout)
    assert set(images) == {"amd64", "arm64"}
    assert re.findall("sha256:[0-9a-f]+", printed) == [*(one["digest"] for one in images.values()), top["digest"]]


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_what_is_in_it(layout: Path, architecture: str) -> None:
    inside = {one.name: (one, raw) for one, raw in entries(layout, architecture)}
    programs = {name for name, (one, _) in inside.items() if one.isfile() and one.mode & 0o111 and ".so" not in name}
    assert programs == {"usr/bin/dregutil", "usr/bin/python3.11"}
    assert inside["usr/bin/dregutil"][1].startswith(b"#!/usr/bin/python3.11 -I\n")
    names = {name.rpartition("/")[2] for name, (one, _) in inside.items() if not one.isdir()}
    assert not names & {"sh", "bash", "dash", "busybox", "perl", "dpkg", "apt", "apt-get", "su", "sudo", "mount"}
    libraries: set[str] = set()
    needed: dict[str, str] = {}
    for name, (one, raw) in inside.items():
        assert one.isfile() or one.isdir() or one.issym(), name
        assert not one.mode & 0o6000, name
        assert (one.uid, one.gid) == ((65532, 65532) if name.startswith(HOME) else (0, 0)), name
        assert not one.mode & 0o022 or one.issym() or name == "tmp", name
        libraries.add(name.rpartition("/")[2])
        if (elf := read_elf(raw)) is not None:
            assert elf.machine == architecture, name
            needed |= dict.fromkeys(elf.needed, name)
    assert {name: by for name, by in needed.items() if name not in libraries} == {}
    links = {name: one.linkname for name, (one, _) in inside.items() if one.issym()}
    for name, target in links.items():
        path = os.path.normpath(Path("/", name).parent / target).lstrip("/")
        path = f"usr/{path}" if path.split("/")[0] in links else path  # /lib is a link to /usr/lib
        assert path in inside or any(one.startswith(path + "/") for one in inside), (name, target)


def test_an_upgrade_brings_one_layer_anew(layout: Path, older: list[Layout]) -> None:
    new = json.loads(blob(layout, listed(layout)[1]["amd64"]))["layers"]
    for image in older:
        had = json.loads(image.images["amd64"].raw)["layers"]
        assert [old == one for old, one in zip(had, new, strict=True)] == [True, True, False]
    assert new[2]["size"] < 4_000_000
    assert 34_000_000 < sum(one["size"] for one in new) < 42_000_000, "docs/container.md says 38 MB"


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_user_and_the_labels(layout: Path, architecture: str) -> None:
    top, images, _ = listed(layout)
    manifest = json.loads(blob(layout, images[architecture]))
    about = json.loads(blob(layout, manifest["config"]))
    assert about["architecture"] == architecture
    assert about["config"]["User"] == "65532:65532"
    assert about["config"]["Entrypoint"] == ["/usr/bin/dregutil"]
    inside = {one.name: raw for one, raw in entries(layout, architecture)}
    assert f"dregutil:x:65532:65532:dregutil:/{HOME}:" in inside["etc/passwd"].decode()
    version = re.search(r'^version = "(.*)"', (PROJECT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version
    wanted = {"version": version[1], "revision": "abc", "source": SOURCE}
    for said in (about["config"]["Labels"], manifest["annotations"], json.loads(blob(layout, top))["annotations"]):
        got = {name.removeprefix("org.opencontainers.image."): value for name, value in said.items()}
        assert wanted.items() <= got.items()
        assert got["created"] == "2026-05-28T20:26:40Z"
    assert top["annotations"]["org.opencontainers.image.ref.name"] == version[1]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_bill_of_materials_lists_all_that_is_in_it(layout: Path, locks: Path, architecture: str) -> None:
    digest = listed(layout)[1][architecture]["digest"]
    bill = attached(layout, SBOM)[digest]
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(bill)) is None
    assert bill["metadata"]["component"]["hashes"] == [{"alg": "SHA-256", "content": digest.removeprefix("sha256:")}]
    said = {one["purl"]: one["hashes"][0]["content"] for one in bill["components"] if "purl" in one}
    found = set()
    for one, raw in entries(layout, architecture):
        fields = dict(
            re.findall(r"^(Package|Name|Version|Architecture): (.*)$", raw.decode(errors="replace"), re.MULTILINE)
        )
        if one.name.startswith("var/lib/dpkg/status.d/"):
            version = fields["Version"].replace("+", "%2B").replace(":", "%3A")
            where = f"arch={fields['Architecture']}&distro=debian-12"
            found.add(f"pkg:deb/debian/{fields['Package']}@{version}?{where}")
        if one.name.endswith(".dist-info/METADATA"):
            name, version = re.findall(r"^(?:Name|Version): (.*)$", raw.decode().split("\n\n")[0], re.MULTILINE)[:2]
            if not re.match(r"[0-9]", version):
                name, version = version, name
            found.add(f"pkg:pypi/{re.sub(r'[-_.]+', '-', name).lower()}@{version}")
    assert found == set(said)
    assert len([one for one in said if one.startswith("pkg:deb/")]) > 15
    pinned = {one.purl: one.sha256 for one in lock.packages(locks, architecture)}
    assert pinned.items() <= said.items()


def test_the_provenance_names_what_it_was_built_from(layout: Path) -> None:
    top, images, _ = listed(layout)
    provenances, bills = attached(layout, PROVENANCE), attached(layout, SBOM)
    assert set(provenances) == {top["digest"], *(one["digest"] for one in images.values())}
    assert set(bills) == {one["digest"] for one in images.values()}
    for digest, statement in provenances.items():
        assert statement["_type"] == "https://in-toto.io/Statement/v1"
        assert statement["predicateType"] == "https://slsa.dev/provenance/v1"
        assert statement["subject"] == [{"name": "dregutil", "digest": {"sha256": digest.removeprefix("sha256:")}}]
        built = statement["predicate"]["buildDefinition"]
        assert built["externalParameters"]["revision"] == "abc"
        used = {(one["uri"], *one["digest"].values()) for one in built["resolvedDependencies"]}
        about = [bills[digest]] if digest in bills else list(bills.values())
        parts = {
            (one["purl"], one["hashes"][0]["content"]) for bill in about for one in bill["components"] if "purl" in one
        }
        assert used == {*parts, (f"git+{SOURCE}@abc", "abc")}


def test_an_archive_is_what_skopeo_reads(older: list[Layout], tmp_path: Path) -> None:
    (tmp_path / "image.tar").write_bytes(older[0].archive(EPOCH))
    done = skopeo("inspect", "--raw", f"oci-archive:{tmp_path}/image.tar:2.8.0")
    assert done == older[0].index.raw


def test_a_package_that_is_gone_or_differs_is_refused(locks: Path, tmp_path: Path) -> None:
    gone = DebianPackage("libc6", "2.36-0", "amd64", "debian/pool/main/g/glibc/libc6_2.36-0_amd64.deb", "0" * 64)
    with pytest.raises(BuildError, match=r"libc6 2\.36-0 is no longer on .*\n.*build\.py --update-lock"):
        fetch(gone, tmp_path)
    (tmp_path / "debs").mkdir()
    (tmp_path / "debs" / gone.sha256).write_bytes(b"another file")
    with pytest.raises(BuildError, match="sha256 differs"):
        fetch(gone, tmp_path)


def test_the_lock_files_have_what_is_asked_for() -> None:
    for architecture in ARCHITECTURES:
        assert set(WANTED) <= {one.name for one in lock.packages(lock.FOLDER, architecture)}
    text = lock.wheels_of(lock.FOLDER).read_text()
    pinned = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", text, re.MULTILINE))
    for requirement in wheels.project_requirements():
        found = re.fullmatch(r"([A-Za-z0-9-]+)(?:\[\w+\])?>=([0-9.]+)", requirement)
        assert found, requirement
        name, least = found[1].lower(), found[2]
        assert [int(part) for part in re.findall(r"\d+", pinned[name])] >= [int(part) for part in least.split(".")]


def skopeo(*arguments: str) -> bytes:
    done = subprocess.run([find_program("skopeo"), "--insecure-policy", *arguments], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


class Container:
    """A pulled image, in a mount namespace of its own: read-only but for the home, as user 65532. It needs root."""

    _SETUP = """set -e
        mount --bind "$1" "$1"; mount -o remount,bind,ro "$1"
        mount --bind /dev "$1/dev"; mount --bind /proc "$1/proc"; mount --bind "$2" "$1/var/lib/dregutil"
        root=$1; shift 2
        exec chroot --userspec=65532:65532 "$root" "$@"
    """

    def __init__(self, layout: Path, tag: str, folder: Path) -> None:
        self.root, self.home = folder / "root", folder / "home"
        self.home.mkdir(parents=True)
        top = json.loads((layout / "index.json").read_bytes())["manifests"][0]
        manifest = json.loads(blob(layout, top))
        self.config = json.loads(blob(layout, manifest["config"]))["config"]
        for layer in manifest["layers"]:
            with tarfile.open(fileobj=io.BytesIO(gzip.decompress(blob(layout, layer)))) as archive:
                archive.extractall(self.root, numeric_owner=True)
        os.chown(self.home, 65532, 65532)

    def run(self, *arguments: str, program: str = "") -> subprocess.CompletedProcess[str]:
        entry: list[str] = [program] if program else self.config["Entrypoint"]
        setup = ["unshare", "--mount", "--propagation", "private", "sh", "-c", self._SETUP, "sh"]
        command = [*setup, str(self.root), str(self.home), *entry, *arguments]
        environment = dict(one.split("=", 1) for one in self.config["Env"])
        assert environment["PATH"] == "/usr/local/bin:/usr/bin"
        environment["PATH"] += ":/usr/sbin:/sbin:/bin"  # of the machine, for mount and chroot
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.every_server
@pytest.mark.only_on(*ON, why="servers that keep an image's blobs on disk; with and without the referrers API")
def test_it_cleans_old_builds_of_itself(
    registry_server: DistributionServer, pusher: Pusher, layout: Path, older: list[Layout], tmp_path: Path
) -> None:
    host = registry_server.host
    version = listed(layout)[0]["annotations"]["org.opencontainers.image.ref.name"]
    for number, image in enumerate(older):
        image.write(tmp_path / f"old-{number}")
        assert push([str(tmp_path / f"old-{number}"), f"{host}/{REPOSITORY}"]) == 0
    assert push([str(layout), f"{host}/{REPOSITORY}"]) == 0
    assert push([str(layout), f"{host}/{REPOSITORY}:latest"]) == 0

    # Pulled by another program, all of it comes back as it was built.
    source = f"docker://{host}/{REPOSITORY}:{version}"
    assert skopeo("inspect", "--raw", "--tls-verify=false", source) == blob(layout, listed(layout)[0])
    pulled = tmp_path / "pulled"
    skopeo("copy", "--src-tls-verify=false", "--override-arch", HOST, source, f"oci:{pulled}:{version}")
    mine = listed(layout)
    assert json.loads((pulled / "index.json").read_bytes())["manifests"][0]["digest"] == mine[1][HOST]["digest"]
    to = f"docker://{host}/tools/copied:{version}"
    skopeo("copy", "--all", "--dest-tls-verify=false", f"oci:{layout}:{version}", to)
    assert skopeo("inspect", "--raw", "--tls-verify=false", to) == blob(layout, mine[0])

    if os.getuid() != 0 or subprocess.run(["unshare", "--mount", "true"], check=False).returncode:
        pytest.skip("the image was pulled, and not run: that needs root, and a mount namespace")
    container = Container(pulled, version, tmp_path / "container")
    who = container.run(
        "-c", "import os; print(os.getuid(), os.getgid()); open('/etc/x', 'w')", program="/usr/bin/python3"
    )
    assert who.stdout == "65532 65532\n"
    assert "Read-only file system: '/etc/x'" in who.stderr
    extras = container.run("-I", "-c", EXTRAS, program="/usr/bin/python3")
    assert extras.stdout == "binary CET True STS\n", extras.stderr
    (container.root / "etc/dregutil/config.toml").write_text(f'[registries.own]\naddress = "http://{host}"\n')
    seen = container.run("-reg", "own", "ls", REPOSITORY, "-c", "None")
    assert seen.returncode == 0, seen.stderr
    assert {"2.8.0", "2.9.0", version, "latest"} <= set(re.findall(r"[\w.]+", seen.stdout))

    kept = {one["digest"] for one in (mine[0], *mine[1].values(), *mine[2])}
    old = {
        one.digest for image in older for one in (image.index, *image.images.values(), *(r for r, _ in image.referrers))
    }
    assert present(pusher, old | kept) == old | kept
    gone = container.run(
        "-reg", f"http://{host}", "remove-tags", "-r", REPOSITORY, "-t", f"<{version}", "-y", "-c", "None"
    )
    assert gone.returncode == 0, gone.stderr
    assert {tag for tag in pusher.tags(REPOSITORY) if not tag.startswith("sha256-")} == {version, "latest"}
    assert present(pusher, old | kept) == kept, "an old build, or what refers to it, is still there"
    for digest, about in subjects(layout).items():
        assert referrers(pusher, digest) == about
    assert all(pusher.is_whole(REPOSITORY, digest) for digest in kept)

    back = container.run("-reg", f"http://{host}", "undo", "-y", "-c", "None")
    assert back.returncode == 0, back.stderr
    assert present(pusher, old | kept) == old | kept
    for image in older:
        for one, subject in image.referrers:
            assert one.digest in referrers(pusher, subject.digest)


def manifests(image: Layout) -> list[Blob]:
    return [image.index, *image.images.values(), *(one for one, _ in image.referrers)]


def subjects(layout: Path) -> dict[str, set[str]]:
    """What refers to each digest, as built."""
    found: dict[str, set[str]] = {}
    for one in listed(layout)[2]:
        found.setdefault(json.loads(blob(layout, one))["subject"]["digest"], set()).add(one["digest"])
    return found


def present(pusher: Pusher, digests: set[str]) -> set[str]:
    return {one for one in digests if pusher.has(REPOSITORY, one)}


def referrers(pusher: Pusher, subject: str) -> set[str]:
    """As a client finds them: by the API, or where there is none, by OCI's tag."""
    status, _, raw = pusher.request("GET", f"/v2/{REPOSITORY}/referrers/{subject}")
    if status != 200:
        raw = pusher.raw(REPOSITORY, subject.replace(":", "-"))
    return {one["digest"] for one in json.loads(raw)["manifests"]}
