"""Pipeline answers as HTTP bodies: as they are, as Tables, or as metadata only."""

from __future__ import annotations

import orjson
from aiohttp import web

from argosy.host import Clock
from argosy.objects import status as errors
from argosy.objects.types import JsonObject
from control_plane.apiserver import tables
from control_plane.apiserver.request import Answer, ListAnswer, Request
from control_plane.apiserver.rest import responses, yaml_text
from control_plane.apiserver.rest.negotiate import YAML, Form, Wanted, negotiate
from control_plane.apiserver.wire import list_json


def wanted_of(http: web.BaseRequest, verb: str) -> Wanted:
    """Raises ApiError 400, 406: also for a watch in YAML, which is no stream."""
    wanted = _negotiated(http, verb)
    if verb == "watch" and wanted.media == YAML:
        text = "only the following media types are accepted: application/json;stream=watch"
        raise errors.status_error(406, "NotAcceptable", text)
    if wanted.form is Form.TABLE:
        tables.check_include(http.query.get("includeObject", ""))
    return wanted


def _negotiated(http: web.BaseRequest, verb: str) -> Wanted:
    if verb in ("get", "list", "watch", "create", "update", "patch"):
        single = Form.PARTIAL_LIST if verb == "list" else Form.PARTIAL
        return negotiate(http.headers.get("Accept", ""), (Form.TABLE, single))
    return negotiate(http.headers.get("Accept", ""), (Form.TABLE, Form.PARTIAL, Form.PARTIAL_LIST))


def render(
    http: web.BaseRequest, request: Request, result: Answer | ListAnswer, wanted: Wanted, clock: Clock
) -> web.Response:
    """Raises ApiError 400, 406."""
    code = result.code if isinstance(result, Answer) else 200
    plain = wanted.form is Form.PLAIN or (isinstance(result, Answer) and result.obj.get("kind") == "Status")
    if isinstance(result, Answer) and not plain and _foreign(request, result):
        plain = wanted.form is not Form.TABLE
    if plain:
        content = result.raw if isinstance(result, Answer) else list_json(result)
    elif wanted.form is Form.TABLE:
        content = orjson.dumps(_table(http, request, result, wanted, clock))
    elif isinstance(result, ListAnswer):
        shown = [entry.form(request.served.convert, request.served.api_version)[0] for entry in result.entries]
        content = orjson.dumps(tables.partial_list(shown, _list_metadata(result), wanted.version))
    else:
        content = orjson.dumps(tables.partial(result.obj, wanted.version))
    media = responses.JSON
    if wanted.media == YAML:
        content, media = yaml_text.dump(orjson.loads(content)), YAML
    elif _is_for_people(http):
        content = orjson.dumps(orjson.loads(content), option=orjson.OPT_INDENT_2)
    return responses.body(http, content, code, media, warnings=request.warnings)


def _is_for_people(http: web.BaseRequest) -> bool:
    """`?pretty=1`, and clients that people look at (apiserver `handlers/negotiation`, isPrettyPrint)."""
    asked = http.query.get("pretty", "")
    if asked:
        return asked in ("1", "t", "T", "true", "True", "TRUE")
    return http.headers.get("User-Agent", "").startswith(("curl", "Wget", "Mozilla/5.0"))


def _foreign(request: Request, result: Answer) -> bool:
    """Whether an answer is of another kind than the resource (Scale, TokenRequest, Eviction)."""
    return bool(result.obj.get("kind") != request.served.kind.kind)


def _list_metadata(result: ListAnswer) -> JsonObject:
    metadata: JsonObject = {"resourceVersion": result.resource_version}
    if result.continue_:
        metadata["continue"] = result.continue_
    if result.remaining is not None:
        metadata["remainingItemCount"] = result.remaining
    return metadata


def _table(
    http: web.BaseRequest, request: Request, result: Answer | ListAnswer, wanted: Wanted, clock: Clock
) -> JsonObject:
    include = http.query.get("includeObject", "")
    served, now_s = request.served, clock.now()
    if isinstance(result, ListAnswer):
        rows = [
            tables.row(served.kind, entry.obj, entry.form(served.convert, served.api_version)[0], now_s, include)
            for entry in result.entries
        ]
        return tables.table(served, rows, _list_metadata(result), wanted.version)
    obj = result.obj
    if _foreign(request, result):
        return _scale_table(obj, include, now_s, wanted.version)
    row = tables.row(served.kind, served.to_storage(obj), obj, now_s, include)
    metadata = {"resourceVersion": obj["metadata"].get("resourceVersion", "")}
    return tables.table(served, [row], metadata, wanted.version)


def _scale_table(obj: JsonObject, include: str, now_s: float, version: str) -> JsonObject:
    """A Table of a kind that is no resource of its own: Scale's columns, or name and age."""
    from argosy.objects import durations

    columns = [("Name", "string", "name"), ("Age", "string", "")]
    metadata = obj.get("metadata") or {}
    cells: list[object] = [metadata.get("name", ""), durations.age(metadata.get("creationTimestamp"), now_s)]
    if obj.get("kind") == "Scale":
        columns[1:1] = [("Desired", "integer", ""), ("Available", "integer", "")]
        cells[1:1] = [obj["spec"]["replicas"], obj["status"]["replicas"]]
    row: JsonObject = {"cells": cells}
    if include != "None":
        row["object"] = obj if include == "Object" else tables.partial(obj)
    return {
        "kind": "Table",
        "apiVersion": f"meta.k8s.io/{version}",
        "metadata": {"resourceVersion": metadata.get("resourceVersion", "")},
        "columnDefinitions": [
            {"name": name, "type": kind, "format": form, "description": "", "priority": 0}
            for name, kind, form in columns
        ],
        "rows": [row],
    }
