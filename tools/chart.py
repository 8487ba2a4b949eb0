"""The Helm chart: its package, its image in a registry, and the plain manifests that are rendered from it.

    python tools/chart.py package FOLDER   the .tgz, and an OCI layout for skopeo to push; the same bytes each time
    python tools/chart.py manifests        examples/kubernetes/rendered, of the values in charts/dregutil/ci
    python tools/chart.py render           a JSON array of values on standard input: of each its files, or the error

What renders is Helm itself, from PyPI's helm-python-sdk; it asks no cluster.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import sys
import tarfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

__all__ = ["CHART", "RENDERED", "manifests", "package", "render", "write_layout"]

ROOT = Path(__file__).parents[1]
CHART = ROOT / "charts" / "dregutil"
RENDERED = ROOT / "examples" / "kubernetes" / "rendered"
RELEASE, NAMESPACE = "dregutil", "registry-cleanup"
_CONFIG = "application/vnd.cncf.helm.config.v1+json"
_CONTENT = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_FILES = ("Chart.yaml", "values.yaml", "values.schema.json", "templates/*")


def metadata() -> dict[str, Any]:
    """What Chart.yaml says."""
    found: dict[str, Any] = yaml.safe_load((CHART / "Chart.yaml").read_text())
    return found


def package() -> bytes:
    """The chart as a .tgz. The same files give the same bytes, whenever and by whomever they were written."""
    raw = io.BytesIO()
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive,
    ):
        for path in (path for pattern in _FILES for path in sorted(CHART.glob(pattern))):
            entry = tarfile.TarInfo(f"{metadata()['name']}/{path.relative_to(CHART).as_posix()}")
            entry.size, entry.mode, entry.mtime = path.stat().st_size, 0o644, _built()
            archive.addfile(entry, io.BytesIO(path.read_bytes()))
    return raw.getvalue()


def _built() -> int:
    """When the release was made, in seconds since 1970 UTC; 0 if nobody says."""
    return int(os.environ.get("SOURCE_DATE_EPOCH", "0"))


def write_layout(folder: Path, content: bytes) -> str:
    """Write an OCI layout with the chart, as `helm push` sends it, tagged with its version. Returns the digest."""
    about = metadata()
    folder.mkdir(parents=True, exist_ok=True)
    config = _blob(folder, json.dumps(about, sort_keys=True, separators=(",", ":")).encode(), _CONFIG)
    annotations = {
        "org.opencontainers.image.created": datetime.fromtimestamp(_built(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "org.opencontainers.image.title": about["name"],
        "org.opencontainers.image.version": about["version"],
        "org.opencontainers.image.description": about["description"],
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": _MANIFEST,
        "config": config,
        "layers": [_blob(folder, content, _CONTENT)],
        "annotations": annotations,
    }
    entry = _blob(folder, json.dumps(manifest, separators=(",", ":")).encode(), _MANIFEST)
    tagged = {**entry, "annotations": {"org.opencontainers.image.ref.name": about["version"]}}
    index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [tagged]}
    (folder / "index.json").write_text(json.dumps(index))
    (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    return str(entry["digest"])


def _blob(folder: Path, raw: bytes, media_type: str) -> dict[str, Any]:
    digest = hashlib.sha256(raw).hexdigest()
    (folder / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)
    (folder / "blobs" / "sha256" / digest).write_bytes(raw)
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(raw)}


def render(values: Mapping[str, Any], chart: Path = CHART) -> dict[str, str]:
    """The files that Helm renders, by their names without `templates/`; empty ones are left out.

    Raises ValueError with what Helm says if the values are refused.
    """
    import helm_python  # 80 MB, and a Go runtime: not in a process that does anything else

    try:
        with helm_python.Chart.load(chart) as loaded:
            found = loaded.render(dict(values), name=RELEASE, namespace=NAMESPACE)
    except helm_python.HelmError as error:
        raise ValueError(str(error)) from error
    return {name.rpartition("/")[2]: text for name, text in sorted(found.items()) if text.strip()}


def manifests() -> dict[str, str]:
    """The plain manifests of each file of values in `ci`, by file name."""
    found = {}
    for path in sorted((CHART / "ci").glob("*.yaml")):
        about = path.read_text().splitlines()[0]
        made = f"{about}\n# Rendered from charts/dregutil/ci/{path.name} by tools/chart.py; do not edit it.\n"
        files = render(yaml.safe_load(path.read_text()))
        parts = [_plain(text) for name, text in files.items() if name.endswith(".yaml")]
        found[path.name] = made + "".join(f"---\n{part}\n" for part in parts)
    return found


def _plain(text: str) -> str:
    lines = (line for line in text.strip().splitlines() if not line.strip().startswith("helm.sh/chart:"))
    return "\n".join(line.rstrip().replace("managed-by: Helm", "managed-by: kubectl") for line in lines)


def _render_all(many: list[dict[str, Any]]) -> list[dict[str, Any]]:
    answers: list[dict[str, Any]] = []
    for values in many:
        try:
            answers.append({"files": render(values)})
        except ValueError as error:
            answers.append({"error": str(error)})
    return answers


def main(arguments: list[str]) -> int:
    match arguments:
        case ["package", folder]:
            content, target = package(), Path(folder)
            target.mkdir(parents=True, exist_ok=True)
            name = f"{metadata()['name']}-{metadata()['version']}.tgz"
            (target / name).write_bytes(content)
            print(f"{target / name} sha256:{hashlib.sha256(content).hexdigest()}")
            print(f"{target / 'oci'}:{metadata()['version']} {write_layout(target / 'oci', content)}")
        case ["manifests"]:
            RENDERED.mkdir(exist_ok=True)
            for name, text in manifests().items():
                (RENDERED / name).write_text(text)
        case ["render"]:
            json.dump(_render_all(json.load(sys.stdin)), sys.stdout)
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
