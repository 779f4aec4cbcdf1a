"""Downward API: a pod's own fields and its containers' resources as text; pure (upstream pkg/fieldpath)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from argosy.objects import meta, quantity
from argosy.objects.types import JsonObject
from node_agent.resources import all_containers, amount

_SUBSCRIPT = re.compile(r"(metadata\.(?:labels|annotations))\['(.*)'\]")


class FieldError(Exception):
    """The reference names nothing that a pod can tell; the message says what."""


def field_value(pod: JsonObject, path: str, pod_ips: Sequence[str], host_ips: Sequence[str]) -> str:
    """The value of a fieldRef. Raises FieldError."""
    subscript = _SUBSCRIPT.fullmatch(path)
    if subscript:
        values = meta.labels(pod) if subscript[1].endswith("labels") else meta.annotations(pod)
        return str(values.get(subscript[2], ""))
    spec = meta.spec(pod)
    known = {
        "metadata.name": meta.name(pod),
        "metadata.namespace": meta.namespace(pod),
        "metadata.uid": meta.uid(pod),
        "spec.nodeName": str(spec.get("nodeName", "")),
        "spec.serviceAccountName": str(spec.get("serviceAccountName", "")),
        "status.hostIP": host_ips[0] if host_ips else "",
        "status.hostIPs": ",".join(host_ips),
        "status.podIP": pod_ips[0] if pod_ips else "",
        "status.podIPs": ",".join(pod_ips),
    }
    if path in known:
        return known[path]
    if path in ("metadata.labels", "metadata.annotations"):
        values = meta.labels(pod) if path.endswith("labels") else meta.annotations(pod)
        return format_map(values)
    raise FieldError(f"unsupported fieldPath: {path}")


def format_map(values: Mapping[str, str]) -> str:
    """Labels or annotations as a downward API file has them: `key="escaped value"`, sorted."""
    return "\n".join(f"{key}={_quoted(value)}" for key, value in sorted(values.items()))


def _quoted(text: str) -> str:
    escapes = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}
    return '"' + "".join(escapes.get(char, char) for char in text) + '"'


def resource_value(
    pod: JsonObject, reference: JsonObject, default_container: str, allocatable: Mapping[str, str]
) -> str:
    """The value of a resourceFieldRef, rounded up to its divisor; absent limits are the node's. Raises FieldError."""
    name = str(reference.get("containerName") or default_container)
    container = next((item for item in all_containers(pod) if item["name"] == name), None)
    if container is None:
        raise FieldError(f"container {name} not found")
    which, _, resource = str(reference.get("resource", "")).partition(".")
    if which not in ("limits", "requests") or not resource:
        raise FieldError(f"unsupported container resource : {reference.get('resource', '')}")
    found = amount(container, which, resource)
    if (found is None or found.nano == 0) and which == "limits":
        found = quantity.parse(allocatable.get(resource, "0"))
    divisor = quantity.parse(reference.get("divisor") or "1")
    if divisor.nano <= 0:
        divisor = quantity.parse("1")
    return str(-(-(found.nano if found else 0) // divisor.nano))
