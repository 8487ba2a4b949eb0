"""A container of a rendered pod as a process: its command line, its environment, and what it mounts, in a folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import yaml

from charted import Document, pods
from program import PROGRAM

__all__ = ["container_of"]

_Files = Mapping[str, Mapping[str, str]]


def container_of(
    part: str, files: Mapping[str, str], folder: Path, secrets: _Files, replaced: Mapping[str, str]
) -> tuple[list[str], dict[str, str]]:
    """Of the first container of a component's pod, with the paths and addresses that it has here."""
    texts = [text for name, text in files.items() if name.endswith(".yaml")]
    documents = [one for text in texts for one in yaml.safe_load_all(text) if one]
    maps = {one["metadata"]["name"]: one["data"] for one in documents if one["kind"] == "ConfigMap"}
    spec = next(s for m, s in pods(documents) if m["labels"]["app.kubernetes.io/component"] == part)
    container = spec["containers"][0]
    volumes = {one["name"]: _volume(folder / "volumes", part, one, maps, secrets) for one in spec["volumes"]}
    places = {one["mountPath"]: volumes[one["name"]] / one.get("subPath", "") for one in container["volumeMounts"]}

    def here(text: str) -> str:
        option, mark, value = text.rpartition("=")
        for target, place in sorted(places.items(), key=lambda one: -len(one[0])):
            if value == target or value.startswith(f"{target}/"):
                return f"{option}{mark}{place}{value[len(target) :]}"
        for old, new in replaced.items():
            text = text.replace(old, new)
        return text

    environment = {one["name"]: here(one["value"]) for one in container["env"]}
    return [str(PROGRAM), *map(here, container["args"])], {"PATH": os.environ["PATH"], **environment}


def _volume(above: Path, part: str, volume: Document, maps: _Files, secrets: _Files) -> Path:
    """As the kubelet has it: files are links to links, so that all of them change at once."""
    place = above / ("shared" if "persistentVolumeClaim" in volume else part) / str(volume["name"])
    place.mkdir(parents=True, exist_ok=True)
    if "configMap" in volume:
        files = maps[volume["configMap"]["name"]]
    elif "secret" in volume:
        known = secrets[volume["secret"]["secretName"]]
        files = {one["path"]: known[one["key"]] for one in volume["secret"]["items"]}
    else:
        return place
    data = place / "..2026_11_27"
    data.mkdir(exist_ok=True)
    for name, text in files.items():
        (data / name).write_text(text)
        if not (place / name).is_symlink():
            (place / name).symlink_to(f"..data/{name}")
    if not (place / "..data").is_symlink():
        (place / "..data").symlink_to(data.name)
    return place
