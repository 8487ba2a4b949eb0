"""Images in several parts: a folder of the registry and a name in it, or columns starting with the registry."""

from __future__ import annotations

import pytest
from test_in_use_golden import protected, resolve

HOST = "registry.example.com"


@pytest.mark.parametrize(
    "text",
    [
        f"spec:\n  driver:\n    repository: {HOST}/shop\n    image: web\n    version: '1.0'\n",
        f"image: {{repository: {HOST}/shop, name: web, tag: '1.0'}}\n",
        f"dependencies:\n- name: web\n  version: '1.0'\n  repository: oci://{HOST}/shop\n",
        f"registry,repository,tag\n{HOST},shop/web,1.0\n",
        f"{HOST} shop/web 1.0\n",
    ],
)
def test_the_parts_are_one_image(text: str) -> None:
    assert "shop/web:1.0" in protected(resolve(text)[0])
