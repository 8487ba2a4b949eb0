"""A release: made twice of a tag in a repository of its own, looked into, installed, pushed to a real registry."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import pytest
from image import lock
from image.build import CACHE
from release import ReleaseError, main, notes

from dregutil import __version__
from images import Pusher
from servers import DistributionServer

PROJECT = Path(__file__).parents[2]
TAG = f"v{__version__}"
ARCHITECTURE = "arm64" if platform.machine() in ("aarch64", "arm64") else "amd64"


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=Release", "-c", "user.email=release@example.com", *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A git repository with the files of this one, and a tag. What Debian's mirror has today is locked: a security
    update must not end these tests."""
    for program in ("git", "apt-get", "dpkg-deb", "gpgv"):
        if shutil.which(program) is None:
            pytest.skip(f"a release is made of a git tag and of Debian's packages, and there is no {program} here")
    folder = tmp_path_factory.mktemp("repository")
    for name in git(PROJECT, "ls-files", "-co", "--exclude-standard", "-z").rstrip("\0").split("\0"):
        if (PROJECT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(PROJECT / name, folder / name)
    lock.update(folder / "tools" / "image", CACHE, with_wheels=False)
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "Release")
    git(folder, "tag", "-a", TAG, "-m", "Release")
    (folder / "src" / "dregutil" / "left.py").write_text("raise SystemExit('not in the tag')\n")
    (folder / "README.md").write_text("changed since\n")
    return folder


@pytest.fixture(scope="module")
def made(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two releases, of processes that differ in what must not matter: folder, umask, time zone, order of sets."""
    one, two = (tmp_path_factory.mktemp(name) / "out" for name in ("one", "two"))
    environment = os.environ | {"PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo", "LC_ALL": "C", "TMPDIR": str(two.parent)}
    script = [sys.executable, str(PROJECT / "tools" / "release.py"), *arguments(repository, two)]
    with subprocess.Popen(
        ["/bin/sh", "-c", 'umask 077; exec "$@"', "sh", *script], env=environment, stderr=subprocess.PIPE, text=True
    ) as other:
        assert main(arguments(repository, one)) == 0
        _, said = other.communicate(timeout=300)
    assert other.returncode == 0, said
    return one, two


def arguments(repository: Path, folder: Path) -> list[str]:
    places = ["--repository", str(repository), "-o", str(folder), "--cache", str(CACHE)]
    return [TAG, *places, "--arch", ARCHITECTURE]


def test_the_same_tag_gives_the_same_bytes(made: tuple[Path, Path]) -> None:
    one, two = ({path.name: path.read_bytes() for path in folder.iterdir()} for folder in made)
    assert sorted(one) == sorted(
        [
            "NOTES.md",
            "SHA256SUMS",
            f"docker_registry_util-{__version__}-py3-none-any.whl",
            f"docker_registry_util-{__version__}.tar.gz",
            f"dregutil-{__version__}-image-{ARCHITECTURE}.cdx.json",
            f"dregutil-{__version__}-image.tar",
            f"dregutil-{__version__}.tgz",
        ]
    )
    assert [name for name in one if one[name] != two.get(name)] == []


def test_it_has_what_the_tag_has(made: tuple[Path, Path], repository: Path) -> None:
    with zipfile.ZipFile(next(made[0].glob("*.whl"))) as wheel:
        times = {entry.date_time for entry in wheel.infolist()}
        in_wheel = {name for name in wheel.namelist() if name.startswith("dregutil/")}
    epoch = int(git(repository, "log", "-1", "--format=%ct", TAG))
    assert times == {time.gmtime(epoch - epoch % 2)[:6]}  # a zip counts every second second
    tagged = set(git(repository, "ls-tree", "-r", "--name-only", TAG).splitlines())
    assert in_wheel == {name.removeprefix("src/") for name in tagged if name.startswith("src/")}
    with tarfile.open(next(made[0].glob("docker_*.tar.gz"))) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
        readme = sdist.extractfile(f"docker_registry_util-{__version__}/README.md")
        assert readme is not None
        assert readme.read() == (PROJECT / "README.md").read_bytes()
    assert tagged - names == {name for name in tagged if name.startswith(".ci/")}


def test_the_checksums_are_those_of_all_files(made: tuple[Path, Path]) -> None:
    folder = made[0]
    listed = dict(line.split("  ")[::-1] for line in (folder / "SHA256SUMS").read_text().splitlines())
    files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    assert listed == {name: digest for name, digest in files.items() if name != "SHA256SUMS"}
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=folder, check=True)


def test_the_notes_are_those_of_the_changelog(made: tuple[Path, Path]) -> None:
    text = (made[0] / "NOTES.md").read_text()
    said = (PROJECT / "CHANGELOG.md").read_text().partition(f"## {__version__}\n")[2].partition("\n## ")[0].strip()
    assert text.startswith(said + "\n")
    assert re.fullmatch(r"\n- image: `sha256:\w{64}`\n- chart: `sha256:\w{64}`\n", text.removeprefix(said + "\n"))


def test_the_bill_of_materials_names_the_wheel(made: tuple[Path, Path]) -> None:
    bill = json.loads(next(made[0].glob("*.cdx.json")).read_text())
    digest = hashlib.sha256(next(made[0].glob("*.whl")).read_bytes()).hexdigest()
    (own,) = (one for one in bill["components"] if one["name"] == "docker-registry-util")
    assert own["version"] == __version__
    assert digest in json.dumps(own)


def test_the_wheel_is_installed_without_a_network(made: tuple[Path, Path], tmp_path: Path) -> None:
    wheel, wheels = str(next(made[0].glob("*.whl"))), str(tmp_path / "wheels")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "download", "--only-binary=:all:", "-d", wheels, wheel], check=True)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run(
        [*pip, "--python", python, "install", "--no-index", "--find-links", wheels, wheel],
        check=True,
        env=os.environ | {"PIP_CONFIG_FILE": os.devnull},
    )
    shown = subprocess.run([python.with_name("dregutil"), "--version"], capture_output=True, text=True, check=True)
    assert shown.stdout == f"dregutil {__version__}\n"
    assert (tmp_path / "venv" / "share" / "man" / "man1" / "dregutil.1").exists()


@pytest.mark.filterwarnings(
    "ignore:Sending a large body:ResourceWarning"
)  # a layer, and nothing else is sent meanwhile
@pytest.mark.only_on("distribution-2.8", why="what servers do with an image is tested with the image")
@pytest.mark.every_server
def test_it_is_pushed_and_a_version_is_never_replaced(
    made: tuple[Path, Path],
    repository: Path,
    registry_server: DistributionServer,
    pusher: Pusher,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = [*arguments(repository, made[0]), "--insecure", "--push", f"{registry_server.host}/tools"]
    for _ in range(2):  # the same once more changes nothing
        assert main(command) == 0
        said = capsys.readouterr().out
        assert f"twine upload {made[0]}/*.whl" in said
        text = (made[0] / "NOTES.md").read_text()
        for kind, name in (("image", "tools/dregutil"), ("chart", "tools/charts/dregutil")):
            digest = re.findall(rf"^- {kind}: `(.*)`$", text, re.MULTILINE)[0]
            assert f"{registry_server.host}/{name}@{digest}\n" in said
            assert pusher.tags(name)[__version__] == digest
    pusher.push_image("tools/charts/dregutil", __version__, seed="another")
    before = pusher.tags("tools/charts/dregutil")
    assert main(command) == 1
    assert f"tools/charts/dregutil:{__version__} is there already, and is another" in capsys.readouterr().err
    assert pusher.tags("tools/charts/dregutil") == before


def test_what_was_changed_since_it_was_made_is_not_pushed(
    made: tuple[Path, Path], repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(made[0], tmp_path / "out")
    with next(folder.glob("*.whl")).open("ab") as wheel:
        wheel.write(b"more")
    command = [*arguments(repository, folder), "--insecure", "--push", "localhost:1/tools"]
    assert main(command) == 1
    assert "are not those of its SHA256SUMS" in capsys.readouterr().err
    (folder / "SHA256SUMS").unlink()
    assert main(command) == 1
    assert "are not those of its SHA256SUMS" in capsys.readouterr().err
    later = tmp_path / "repository"
    shutil.copytree(repository / ".git", later / ".git")
    git(later, "tag", "-f", TAG, git(later, "commit-tree", "-m", "Later", f"{TAG}^{{tree}}"))
    assert main([*arguments(later, made[0]), "--insecure", "--push", "localhost:1/tools"]) == 1
    assert "was not made of" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("tag", "file", "change", "said"),
    [
        ("v9.9.9", "", ("", ""), "pyproject.toml says"),
        ("nightly", "", ("", ""), "no version"),
        (TAG, "src/dregutil/__init__.py", (f'__version__ = "{__version__}"', '__version__ = "0"'), "--version says 0"),
        (TAG, "charts/dregutil/Chart.yaml", (f"appVersion: {__version__}", "appVersion: 0"), "appVersion says 0"),
        (TAG, "pyproject.toml", ('"hatchling==', '"hatchling==0.0.'), "pip install hatchling==0.0."),
        (TAG, "CHANGELOG.md", (f"## {__version__}\n", "## Next\n"), f"CHANGELOG.md says nothing of {__version__}"),
    ],
)
def test_what_does_not_fit_together_is_refused(
    tag: str, file: str, change: tuple[str, str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "repository"
    for name in ("pyproject.toml", "src/dregutil/__init__.py", "charts/dregutil/Chart.yaml", "CHANGELOG.md"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PROJECT / name, folder / name)
    if file:
        text = (folder / file).read_text()
        assert change[0] in text
        (folder / file).write_text(text.replace(*change))
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "Release")
    git(folder, "tag", tag)
    assert main([tag, "--repository", str(folder), "-o", str(tmp_path / "out")]) == 1
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_without_the_tag_or_into_a_folder_that_is_there_nothing_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    git(tmp_path, "init", "-q")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "Release")
    assert main([TAG, "--repository", str(tmp_path)]) == 1
    assert f"there is no tag {TAG}" in capsys.readouterr().err
    git(tmp_path, "tag", TAG)
    assert main([TAG, "--repository", str(tmp_path), "-o", str(tmp_path)]) == 1
    assert "is there already" in capsys.readouterr().err


def test_the_notes_are_one_section() -> None:
    text = "# Changelog\n\n## 2.0.0\n\n- two\n\n### More\n\n- three\n\n## 1.0.0\n\n- one\n\n## 0.1.0\n"
    assert notes("2.0.0", text) == "- two\n\n### More\n\n- three\n"
    assert notes("1.0.0", text) == "- one\n"
    for version in ("0.1.0", "1.0", "3.0.0"):
        with pytest.raises(ReleaseError):
            notes(version, text)
