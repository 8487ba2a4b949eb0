"""The description of the API, made of the table of its routes and of the types in `model`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from aiohttp import web

from dregutil.pages.model import Report
from dregutil.serve.endpoints import API, ENDPOINTS, Endpoint
from dregutil.serve.model import Failure
from dregutil.serve.people import Role

__all__ = ["description", "routes"]

_REF = "#/components/schemas/{name}"
_NUMBERS = frozenset(("offset", "limit"))
_REFUSALS = {
    400: "The request cannot be understood.",
    401: "Nobody is logged in.",
    403: "The person may not do this, or another site asks.",
    404: "There is no such thing.",
    409: "It cannot be done now.",
    413: "The body is too large.",
    503: "The answer is not ready yet, or the server is ending.",
}


def routes(program: str) -> list[web.RouteDef]:
    """The route that sends it. `program` is named in it with its version."""
    body: list[bytes] = []

    async def openapi(_request: web.Request) -> web.Response:
        if not body:
            body.append(msgspec.json.encode(description(program)))
        return web.Response(body=body[0], content_type="application/json")

    return [web.get(f"{API}/openapi.json", openapi)]


def description(program: str) -> dict[str, Any]:
    """The document, as OpenAPI 3.1 has it."""
    shown = [one for one in ENDPOINTS.values() if one.path.startswith(API)]
    types = dict.fromkeys(kind for one in shown for kind in (one.gives, one.takes) if kind not in (None, dict))
    schemas, components = msgspec.json.schema_components([*types, Failure], ref_template=_REF)
    found = dict(zip([*types, Failure], schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for one in shown:
        paths.setdefault(one.path, {})[one.method.lower()] = _operation(one, found)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "dregutil serve",
            "version": "1",
            "description": f"What the pages of `dregutil serve` read and do. {program}.",
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {"schemas": _named(components)},
    }


def _operation(one: Endpoint, schemas: Mapping[type, Any]) -> dict[str, Any]:
    name = re.sub(r"\W+", "_", one.path.removeprefix(API)).strip("_")
    found: dict[str, Any] = {
        "operationId": f"{one.method.lower()}_{name}",
        "summary": one.summary,
        "description": f"Needs the role {one.role.name.lower()}.",
        "x-role": one.role.name.lower(),
        "parameters": [*_in_path(one), *_in_query(one)],
        "responses": {str(one.status): _answer(one, schemas)} | _unchanged(one) | _refusals(one, schemas),
    }
    if one.takes is not None:
        found["requestBody"] = {"required": True, "content": {"application/json": {"schema": schemas[one.takes]}}}
    return found


def _in_path(one: Endpoint) -> Iterable[dict[str, Any]]:
    for name in re.findall(r"\{(\w+)\}", one.path):
        yield {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _in_query(one: Endpoint) -> Iterable[dict[str, Any]]:
    for name in one.query:
        schema: dict[str, Any] = {"type": "integer", "minimum": 0} if name in _NUMBERS else {"type": "string"}
        yield {"name": name, "in": "query", "required": False, "schema": schema}


def _answer(one: Endpoint, schemas: Mapping[type, Any]) -> dict[str, Any]:
    if one.status == 204:
        return {"description": "Done."}
    schema = {"type": "object"} if one.gives is dict else None if one.gives is None else schemas[one.gives]
    content = {one.kind: {} if schema is None else {"schema": schema}}
    return {"description": "Begun." if one.status == 202 else "The answer.", "content": content}


def _unchanged(one: Endpoint) -> dict[str, Any]:
    return {"304": {"description": "It is as the ETag of If-None-Match says."}} if one.gives is Report else {}


def _refusals(one: Endpoint, schemas: Mapping[type, Any]) -> dict[str, Any]:
    codes = [401, 403, 503] if one.role < Role.PLANNER else [400, 401, 403, 413, 503]
    codes += [404] if "{" in one.path else []
    codes += [400] if one.query else []
    codes += [409] if one.role > Role.VIEWER else []
    content = {"application/json": {"schema": schemas[Failure]}}
    return {str(code): {"description": _REFUSALS[code], "content": content} for code in sorted(set(codes))}


def _named(components: Mapping[str, Any]) -> dict[str, Any]:
    """The schemas, in the order of their names."""
    found = {name: dict(components[name]) for name in sorted(components)}
    for schema in found.values():
        schema["description"] = " ".join(schema.get("description", "").split())
    return found
