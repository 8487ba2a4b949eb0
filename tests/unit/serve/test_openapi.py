"""The description of the API of `dregutil serve`."""

from __future__ import annotations

import json

import jsonschema
import pytest

from described import Described
from dregutil.serve.endpoints import API, ENDPOINTS
from dregutil.serve.openapi import description

DOCUMENT = json.loads(json.dumps(description("dregutil 3")))


def test_every_route_of_the_api_is_described_with_its_role_and_its_errors() -> None:
    described = {(method.upper(), path) for path, one in DOCUMENT["paths"].items() for method in one}
    assert described == {key for key in ENDPOINTS if key[1].startswith(API)}
    names = []
    for path, operations in DOCUMENT["paths"].items():
        for method, operation in operations.items():
            endpoint = ENDPOINTS[method.upper(), path]
            assert operation["x-role"] == endpoint.role.name.lower()
            assert {"401", "403", "503"} < operation["responses"].keys()
            assert len(operation["parameters"]) == path.count("{") + len(endpoint.query)
            assert ("requestBody" in operation) == (method == "post")
            names.append(operation["operationId"])
    assert len(names) == len(set(names))


def test_every_reference_leads_to_a_schema_and_every_schema_is_one() -> None:
    text = json.dumps(DOCUMENT)
    for name, schema in DOCUMENT["components"]["schemas"].items():
        assert f"#/components/schemas/{name}" in text
        jsonschema.Draft202012Validator.check_schema(schema)
    assert all(name.partition('"')[0] in DOCUMENT["components"]["schemas"] for name in text.split("/schemas/")[1:])


def test_an_answer_that_is_described_otherwise_is_noticed() -> None:
    described = Described(DOCUMENT)
    described.check("GET", f"{API}/jobs", 200, {"jobs": []})
    for status, body in ((200, {"jobs": None}), (200, {}), (200, {"jobs": [], "more": 1}), (500, {"error": "x"})):
        with pytest.raises((jsonschema.ValidationError, AssertionError)):
            described.check("GET", f"{API}/jobs", status, body)
