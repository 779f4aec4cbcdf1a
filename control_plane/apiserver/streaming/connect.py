"""Admission of connections to pods: webhooks may refuse exec, attach and port-forward (operation CONNECT)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from argosy.objects.types import JsonObject
from control_plane.apiserver.admission.chain import Attributes, Operation
from control_plane.apiserver.pipeline import Pipeline
from control_plane.apiserver.request import Request

KINDS: Final = {"exec": "PodExecOptions", "attach": "PodAttachOptions", "portforward": "PodPortForwardOptions"}
_FLAGS: Final = ("stdin", "stdout", "stderr", "tty")


async def admit(pipeline: Pipeline, request: Request, query: Mapping[str, Sequence[str]]) -> None:
    """`query` holds the options as REST has them. Raises ApiError."""
    kind = KINDS.get(request.subresource)
    if kind is not None:
        options = _options(kind, query)
        await pipeline.context.admission.admit(Attributes(Operation.CONNECT, request, options, None))


def _options(kind: str, query: Mapping[str, Sequence[str]]) -> JsonObject:
    options: JsonObject = {"kind": kind, "apiVersion": "v1"}
    for name in _FLAGS:
        if name in query:
            options[name] = (query[name] or ("",))[-1].lower() not in ("0", "false")
    if query.get("container"):
        options["container"] = query["container"][-1]
    if "command" in query:
        options["command"] = list(query["command"])
    if "ports" in query:
        texts = [text for value in query["ports"] for text in value.split(",")]
        options["ports"] = [int(text) for text in texts if text.isascii() and text.isdigit()]
    return options
