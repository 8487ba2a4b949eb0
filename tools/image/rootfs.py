"""The image's files: Debian's, without what dregutil never uses, and the few that an installation would have made."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from image.debian import BuildError, DebianPackage, control
from image.tree import Tree, directory, file, link
from image.wheels import PACKAGES, PYTHON

__all__ = ["HOME", "STATE", "USER", "debian_layer", "without_shells"]

USER = 65532
HOME = "var/lib/dregutil"
STATE = f"{HOME}/state"
_LIBRARY = f"usr/lib/python{PYTHON}"

# Of Debian's packages. Nobody reads manuals here, there is one locale, and no package is ever installed or set up.
_UNUSED = re.compile(
    r"usr/share/(?!doc/[^/]+/copyright$|common-licenses/|ca-certificates/|zoneinfo/)"
    r"|usr/lib/[^/]+-linux-gnu/(gconv|perl)/|usr/(lib/)?lintian/|usr/sbin/|usr/bin/(?!python3\.11$)|etc/(?!mime\.types$|debian_version$"
    r"|os-release$|python3\.11/)|(root|home|var)/|usr/(games|include|src)/"
    r"|usr/share/zoneinfo/(posix/|right/|localtime$)"
    rf"|{_LIBRARY}/(lib2to3|idlelib|tkinter|turtledemo|ensurepip|pydoc_data|curses|dbm|distutils|test)/|{_LIBRARY}/(turtle|nis)\.py$"
    rf"|{_LIBRARY}/lib-dynload/(_curses|_curses_panel|_dbm|_gdbm|_tkinter|readline|nis|_testcapi|_ctypes_test|_xxtestfuzz"
    r"|_testbuffer|_testimportmultiple|_testmultiphase|_testclinic|_testinternalcapi|xxlimited|xxlimited_35)\."
)  # fmt: skip
_SHELL = re.compile(rb"#! *\S*?(?:/|env +)(?:[a-z]*sh|perl|awk|sed|make)\b")
_MERGED = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")

_PASSWD = f"""root:x:0:0:root:/nonexistent:/nonexistent
dregutil:x:{USER}:{USER}:dregutil:/{HOME}:/nonexistent
nobody:x:65534:65534:nobody:/nonexistent:/nonexistent
"""
_GROUP = f"root:x:0:\ndregutil:x:{USER}:\nnogroup:x:65534:\n"
_NSSWITCH = "passwd: files\ngroup: files\nhosts: files dns\nnetworks: files\nservices: files\n"


def debian_layer(packages: Mapping[DebianPackage, tuple[str, Tree]]) -> Tree:
    """The layer of Debian's packages, each given with the text of its control file and its files. Raises BuildError."""
    tree = Tree()
    for package, (about, contents) in sorted(packages.items(), key=lambda one: one[0].name):
        for path, entry in contents.entries.items():
            if entry.kind != "directory" and not _is_unused(path):  # an empty folder serves nobody
                tree[_merged(path)] = replace(entry, mode=0o644) if path.endswith(".py") else entry  # no programs
        tree[f"var/lib/dpkg/status.d/{package.name}"] = file(_status(about))
    tree.add(_own_files(tree))
    tree = tree.without(["usr/share/ca-certificates"])  # they are in one file now
    without_shells(tree)
    return tree


def without_shells(tree: Tree) -> None:
    """Raises BuildError if a file would need a shell, or another interpreter than Python, to run."""
    for path, raw in tree.files():
        if tree[path].mode & 0o111 and _SHELL.match(raw[:200]):
            raise BuildError(f"{path} is a script of a shell, which the image does not have")


def _is_unused(path: str) -> bool:
    return _UNUSED.match(_merged(path)) is not None


def _merged(path: str) -> str:
    """Where a file is in a system with one /usr."""
    return f"usr/{path}" if path.split("/")[0] in _MERGED else path


def _status(about: str) -> str:
    """What a scanner of packages reads: the control file as dpkg keeps it."""
    if "Package" not in control(about):
        raise BuildError("a package has no control file")
    return re.sub(r"^(Package: .*)$", r"\1\nStatus: install ok installed", about, count=1, flags=re.MULTILINE)


def _own_files(tree: Tree) -> Tree:
    own = Tree(
        {name: link(f"usr/{name}") for name in _MERGED if any(path.startswith(f"usr/{name}/") for path in tree.entries)}
    )
    roots = [raw for path, raw in tree.files() if path.startswith("usr/share/ca-certificates/mozilla/")]
    if not roots:
        raise BuildError("ca-certificates has no certificates")
    own["etc/ssl/certs/ca-certificates.crt"] = file(b"".join(raw.rstrip(b"\n") + b"\n" for raw in roots))
    own["usr/lib/ssl/cert.pem"] = link("/etc/ssl/certs/ca-certificates.crt")
    own["usr/bin/python3"] = link("python3.11")
    own["etc/passwd"], own["etc/group"] = file(_PASSWD), file(_GROUP)
    own["etc/nsswitch.conf"] = file(_NSSWITCH)
    own.add(
        Tree({name: directory() for name in ("dev", "proc", "sys", "run", "etc/dregutil")})
    )  # a runtime mounts there
    own["tmp"] = directory(0o1777)
    own[HOME], own[STATE] = directory(0o755, USER), directory(0o700, USER)
    own[PACKAGES] = directory()
    return own
