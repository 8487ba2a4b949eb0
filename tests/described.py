"""Answers of `dregutil serve`, compared with its own description of them."""

from __future__ import annotations

import re
from typing import Any

import jsonschema

__all__ = ["Described"]


class Described:
    """The description at /api/v1/openapi.json."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        self._components = _closed(document["components"])

    def operation(self, method: str, path: str) -> dict[str, Any] | None:
        """What is said of a request to `path`; None if it leads nowhere."""
        path = path.partition("?")[0]
        exact = self.document["paths"].get(path)
        for pattern, operations in self.document["paths"].items():
            if exact is None and re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", pattern), path):
                exact = operations
        found: dict[str, Any] | None = None if exact is None else exact.get(method.lower())
        return found

    def check(self, method: str, path: str, status: int, body: Any) -> None:
        """The answer is one of those that are described, and has no field that is not."""
        operation = self.operation(method, path)
        if operation is None or status == 404:
            assert status in (401, 403, 404, 405), (method, path, status)
            return
        assert str(status) in operation["responses"], (method, path, status, body)
        content = operation["responses"][str(status)].get("content", {}).get("application/json")
        if content is not None:
            schema = {**content["schema"], "components": self._components}
            jsonschema.validate(body, schema, jsonschema.Draft202012Validator)


def _closed(schema: Any) -> Any:
    """No object may have other fields than those that are named."""
    if isinstance(schema, list):
        return [_closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: _closed(one) for name, one in schema.items()}
    is_object = schema.get("type") == "object" and isinstance(schema.get("properties"), dict)
    return found | {"additionalProperties": False} if is_object else found
