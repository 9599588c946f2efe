"""The API's description: requests from the models that parse them, answers by their shapes.

OpenAPI 3.1, whose schemas are JSON Schema 2020-12, which is what pydantic writes.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

from pydantic.json_schema import models_json_schema

from ezkielyna.contract import errors
from ezkielyna.contract.requests import REQUESTS, ApiRequest, Endpoint

Schema = dict[str, Any]

PATHS: dict[Endpoint, tuple[str, str, str]] = {
    "chat.completions": ("/chat/completions", "Answer a conversation", "ChatCompletion"),
    "completions": ("/completions", "Complete a text", "Completion"),
    "embeddings": ("/embeddings", "Turn texts into vectors", "Embeddings"),
    "images.generations": ("/images/generations", "Draw", "Images"),
}
STREAMED = frozenset({"chat.completions", "completions", "images.generations"})
FAULTS_OF_REQUESTS = (400, 401, 402, 403, 404, 405, 409, 413, 415, 429, 431, 500, 502, 503, 504)
FAULTS_OF_READING = (400, 401, 403, 404, 405, 429, 431, 500, 503)
TEXT: Schema = {"type": "string"}
WHOLE: Schema = {"type": "integer"}


@cache
def description(address: str, version: str) -> Schema:
    """Return the document for a gateway at this address."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Ezkielyna",
            "version": version,
            "description": f"OpenAI's API for many models. Documentation: {address}/docs",
        },
        "servers": [{"url": f"{address}/api/v1"}],
        "security": [{"bearer": []}, {"key": []}],
        "paths": {**_posts(), **_reads()},
        "components": {
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "`ez-…`"},
                "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
            "schemas": {**_requests(), **_answers(), "Error": _error()},
        },
    }


def _requests() -> Schema:
    every = [(request, "validation") for request in REQUESTS.values()]
    _, schema = models_json_schema(every, ref_template="#/components/schemas/{model}")  # type: ignore[arg-type]
    defined: Schema = schema["$defs"]
    messages = defined["ChatRequest"]["properties"]["messages"]
    # A rule that the gateway checks after parsing, because it is cheaper there.
    messages["items"] = _object(role=TEXT)
    return defined


def _posts() -> Schema:
    return {
        path: {"post": _post(REQUESTS[endpoint], summary, answer, endpoint in STREAMED)}
        for endpoint, (path, summary, answer) in PATHS.items()
    }


def _post(request: type[ApiRequest], summary: str, answer: str, streamed: bool) -> Schema:
    content: Schema = {"application/json": {"schema": _ref(answer)}}
    if streamed:
        content["text/event-stream"] = {}
    return {
        "summary": summary,
        "operationId": request.endpoint,
        "parameters": [
            {
                "name": "Idempotency-Key",
                "in": "header",
                "description": "answers and charges a plain request once in 24 hours",
                "schema": {"type": "string", "minLength": 1, "maxLength": 255},
            }
        ],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": _ref(request.__name__)}},
        },
        "responses": {
            "200": {"description": "The answer", "headers": HEADERS, "content": content},
            **dict(_faults(FAULTS_OF_REQUESTS)),
        },
    }


def _reads() -> Schema:
    day = {"type": "string", "description": "such as 2026-11-01, or with a time; UTC"}
    groups = ["model", "key", "endpoint", "status"]
    return {
        "/models": {
            "get": _read(
                "List the models that this key may use",
                "ModelList",
                _query("limit", {"type": "integer", "minimum": 1, "maximum": 1000}),
                _query("after_id", TEXT),
            )
        },
        "/models/{id}": {
            "get": _read(
                "Show one model",
                "Model",
                {"name": "id", "in": "path", "required": True, "schema": TEXT},
            )
        },
        "/key": {"get": _read("Show this key and its account's money", "Key")},
        "/usage": {
            "get": _read(
                "Show the account's usage",
                "Usage",
                _query("from", day),
                _query("to", day),
                _query("group", {"type": "string", "enum": groups}),
                _query("format", {"type": "string", "enum": ["json", "csv"]}),
                csv=True,
            )
        },
    }


def _read(summary: str, answer: str, *parameters: Schema, csv: bool = False) -> Schema:
    content: Schema = {"application/json": {"schema": _ref(answer)}}
    if csv:
        content["text/csv"] = {"schema": TEXT}
    return {
        "summary": summary,
        "parameters": list(parameters),
        "responses": {
            "200": {"description": "What was asked for", "headers": HEADERS, "content": content},
            **dict(_faults(FAULTS_OF_READING)),
        },
    }


def _query(name: str, schema: Schema) -> Schema:
    return {"name": name, "in": "query", "schema": schema}


def _faults(statuses: tuple[int, ...]) -> Iterator[tuple[str, Schema]]:
    types: dict[int, list[str]] = {500: ["server_error"]}
    for error in vars(errors).values():
        if isinstance(error, type) and issubclass(error, errors.GatewayError):
            types.setdefault(error.status, []).append(error.type)
    for status in statuses:
        words = " or ".join(f"`{word}`" for word in sorted(set(types.get(status, []))))
        yield (
            str(status),
            {
                "description": words,
                "headers": {"x-request-id": HEADERS["x-request-id"]},
                "content": {"application/json": {"schema": _ref("Error")}},
            },
        )


def _error() -> Schema:
    return _object(
        error=_object(
            message=TEXT, type=TEXT, param={"type": ["string", "null"]}, code={"type": "integer"}
        )
    )


def _answers() -> Schema:
    usage = {"type": ["object", "null"]}
    dated = {"id": TEXT, "object": TEXT, "created": WHOLE, "model": TEXT}
    choices = {"type": "array", "items": {"type": "object"}}
    model = _object(
        id=TEXT, object={"const": "model"}, type={"const": "model"}, created=WHOLE,
        created_at=TEXT, owned_by=TEXT, display_name=TEXT,
    )  # fmt: skip
    return {
        "ChatCompletion": _object(**dated, choices=choices, usage=usage),
        "Completion": _object(**dated, choices=choices, usage=usage),
        "Embeddings": _object(object={"const": "list"}, model=TEXT, data=choices, usage=usage),
        "Images": _object(created=WHOLE, data=choices),
        "Model": model,
        "ModelList": _object(
            object={"const": "list"},
            data={"type": "array", "items": _ref("Model")},
            has_more={"type": "boolean"},
        ),
        "Key": {"type": "object"},
        "Usage": {"type": "object"},
    }


def _object(**properties: Schema) -> Schema:
    """Return the schema of an object that has these properties, and perhaps more."""
    return {"type": "object", "properties": properties, "required": sorted(properties)}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


HEADERS: Schema = {
    "x-request-id": {"description": "the id of this request", "schema": TEXT},
    **{
        f"x-ratelimit-{what}-{unit}": {"description": f"{what} of {unit}", "schema": TEXT}
        for what in ("limit", "remaining", "reset")
        for unit in ("requests", "tokens")
    },
}
