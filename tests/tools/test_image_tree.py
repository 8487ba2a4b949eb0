"""The files of an image, before they are one: what is refused, and what becomes of links and folders."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pytest
from image.debian import BuildError
from image.rootfs import without_shells
from image.tree import Tree, directory, file, link
from image.wheels import PACKAGES, Wheel, install


def archive(*entries: tuple[tarfile.TarInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as found:
        for one, raw in entries:
            one.size = len(raw)
            found.addfile(one, io.BytesIO(raw))
    return buffer.getvalue()


def entry(name: str, *, mode: int = 0o644, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    one = tarfile.TarInfo(name)
    one.mode, one.type, one.linkname = mode, kind, target
    return one


def test_a_file_that_runs_as_another_user_is_refused() -> None:
    for mode in (0o4755, 0o2755):
        with pytest.raises(ValueError, match="would run as another user"):
            Tree.read(archive((entry("./usr/bin/su", mode=mode), b"x")))


def test_a_device_is_refused() -> None:
    with pytest.raises(ValueError, match="neither a file, a folder nor a link"):
        Tree.read(archive((entry("./dev/null", kind=tarfile.CHRTYPE), b"")))


def test_a_hard_link_becomes_a_copy() -> None:
    tree = Tree.read(archive((entry("./a"), b"text"), (entry("./b", kind=tarfile.LNKTYPE, target="./a"), b"")))
    assert tree["b"] == file(b"text")


def test_the_same_files_in_another_order_give_the_same_bytes(tmp_path: Path) -> None:
    parts = {"usr/b": file("b"), "usr/a": file("a", 0o755), "bin": link("usr/bin"), "tmp": directory(0o1777)}
    one, other = Tree(parts), Tree(dict(reversed(parts.items())))
    assert one.tar(7) == other.tar(7)
    assert one.tar(7) != one.tar(8)
    again = Tree.read(one.tar(7))
    assert again.entries == {**parts, "usr": directory()}
    (tmp_path / "root").mkdir()
    again.write(tmp_path / "root")
    assert (tmp_path / "root/usr/a").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "root/bin").readlink() == Path("usr/bin")


def test_a_file_below_a_link_is_refused() -> None:
    with pytest.raises(ValueError, match="lib/x is below lib, which is a link"):
        Tree({"lib": link("usr/lib"), "lib/x": file("x")}).complete()


@pytest.mark.parametrize(
    "line", ["#!/bin/sh", "#! /bin/bash -e", "#!/usr/bin/env bash", "#!/usr/bin/perl -w", "#!/usr/bin/env  zsh"]
)
def test_a_script_of_a_shell_is_refused(line: str) -> None:
    with pytest.raises(BuildError, match="usr/bin/x is a script of a shell"):
        without_shells(Tree({"usr/bin/x": file(f"{line}\necho\n", 0o755)}))
    without_shells(Tree({"usr/bin/x": file("#!/usr/bin/python3.11 -I\n", 0o755), "doc": file(f"{line}\n")}))


def test_a_wheel_becomes_modules_and_the_programs_that_are_wanted() -> None:
    points = "[console_scripts]\ntool = tool.main:run\nother = tool.main:other\n"
    tree = install(
        wheel({"tool/main.py": "", "tool-1.dist-info/entry_points.txt": points, "tool-1.data/data/man/x": ""}), ["tool"]
    )
    assert set(tree.entries) == {
        f"{PACKAGES}/tool/main.py",
        f"{PACKAGES}/tool-1.dist-info/entry_points.txt",
        "usr/bin/tool",
    }
    assert b"from tool.main import run\n" in tree["usr/bin/tool"].raw
    with pytest.raises(BuildError, match="outside of its folder"):
        install(wheel({"tool/../../x.py": ""}))


def wheel(files: dict[str, str]) -> Wheel:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return Wheel("tool", "1", buffer.getvalue())
