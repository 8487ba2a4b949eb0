"""What is said of an image beside it: what it contains (CycloneDX), and from what and how it was built (SLSA)."""

from __future__ import annotations

import json
import platform
import uuid
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from image.debian import DISTRIBUTION, DebianPackage
from image.oci import Blob, when
from image.wheels import Wheel

__all__ = ["PROVENANCE", "SBOM", "Inputs", "provenance", "sbom"]

SBOM = "application/vnd.cyclonedx+json"
PROVENANCE = "application/vnd.in-toto+json"
PREDICATE = "https://slsa.dev/provenance/v1"
_BUILD_TYPE = "urn:dregutil:image:1"  # the meaning of the parameters: docs/container.md
_BUILDER = "urn:dregutil:tools/image/build.py"


@dataclass(frozen=True, slots=True)
class Inputs:
    """What an image is built from.

    `epoch`: seconds since 1970, the time of everything in it. `revision` is a commit, `source` the source's address;
    both may be empty.
    """

    version: str
    epoch: int
    revision: str
    source: str
    packages: Sequence[DebianPackage]
    wheels: Sequence[Wheel]


def sbom(image: Blob, architecture: str, inputs: Inputs) -> Blob:
    """The bill of materials of an image for one architecture, as CycloneDX 1.6 in JSON."""
    distribution = {
        "type": "operating-system",
        "bom-ref": DISTRIBUTION,
        "name": "debian",
        "version": DISTRIBUTION.rpartition("-")[2],
    }
    parts = [
        *(_component(one.name, one.version, one.purl, one.sha256) for one in inputs.packages),
        *(_component(one.name.replace("_", "-"), one.version, one.purl, one.sha256) for one in inputs.wheels),
    ]
    root = f"pkg:oci/dregutil@{image.digest.replace(':', '%3A')}?arch={architecture}"
    body = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, image.digest)}",
        "version": 1,
        "metadata": {
            "timestamp": when(inputs.epoch),
            "component": {
                "type": "container",
                "bom-ref": root,
                "name": "dregutil",
                "version": inputs.version,
                "purl": root,
                "hashes": [{"alg": "SHA-256", "content": image.digest.removeprefix("sha256:")}],
            },
        },
        "components": [distribution, *parts],
        "dependencies": [
            {"ref": root, "dependsOn": sorted(part["bom-ref"] for part in (distribution, *parts))},
        ],
    }
    return Blob(SBOM, _json(body))


def provenance(subject: Blob, architectures: Sequence[str], inputs: Inputs) -> Blob:
    """How an image, or an index of images, was built: an in-toto statement with SLSA's predicate. It is not signed."""
    materials = [(one.purl, "sha256", one.sha256) for one in inputs.packages]
    materials += [(one.purl, "sha256", one.sha256) for one in inputs.wheels]  # two of a purl for two architectures
    if inputs.revision and inputs.source:
        materials.append((f"git+{inputs.source}@{inputs.revision}", "gitCommit", inputs.revision))
    parameters: Mapping[str, Any] = {
        "version": inputs.version,
        "epoch": inputs.epoch,
        "architectures": list(architectures),
        **({"source": inputs.source} if inputs.source else {}),
        **({"revision": inputs.revision} if inputs.revision else {}),
    }
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "dregutil", "digest": {"sha256": subject.digest.removeprefix("sha256:")}}],
        "predicateType": PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": _BUILD_TYPE,
                "externalParameters": parameters,
                "internalParameters": {"python": platform.python_version(), "zlib": zlib.ZLIB_RUNTIME_VERSION},
                "resolvedDependencies": [
                    {"uri": uri, "digest": {kind: digest}} for uri, kind, digest in sorted(materials)
                ],
            },
            "runDetails": {"builder": {"id": _BUILDER}},
        },
    }
    return Blob(PROVENANCE, _json(statement))


def _component(name: str, version: str, purl: str, sha256: str) -> dict[str, Any]:
    return {
        "type": "library",
        "bom-ref": purl,
        "name": name,
        "version": version,
        "purl": purl,
        "hashes": [{"alg": "SHA-256", "content": sha256}],
    }


def _json(value: object) -> bytes:
    return json.dumps(value, indent=1, ensure_ascii=False).encode()
