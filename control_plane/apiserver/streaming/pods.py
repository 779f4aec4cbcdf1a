"""Requests for a pod's streams, checked against the pod before its node is asked. Pure.

Messages are upstream's (k8s.io/kubernetes `pkg/registry/core/pod/strategy.go` and `pkg/apis/core/validation`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import quote, urlencode

from argosy.host import parse_rfc3339
from argosy.objects import status
from argosy.objects.status import FieldError
from argosy.objects.types import JsonObject
from argosy.streaming import remotecommand
from argosy.streaming.remotecommand import Options

Query = Mapping[str, Sequence[str]]
LOG_FLAGS: Final = ("follow", "previous", "timestamps", "insecureSkipTLSVerifyBackend")
LOG_NUMBERS: Final = {"sinceSeconds": 1, "tailLines": 0, "limitBytes": 1}
STREAMS: Final = ("All", "Stdout", "Stderr")


def container_of(pod: JsonObject, wanted: str) -> str:
    """The container that is meant; may be left out when there is only one. Raises ApiError 400."""
    spec = pod["spec"]
    name = pod["metadata"]["name"]
    containers = [item["name"] for item in spec.get("containers") or ()]
    inits = [item["name"] for item in spec.get("initContainers") or ()]
    ephemeral = [item["name"] for item in spec.get("ephemeralContainers") or ()]
    if wanted:
        if wanted not in (*containers, *inits, *ephemeral):
            raise status.bad_request(f"container {wanted} is not valid for pod {name}")
        return wanted
    if len(containers) == 1:
        return str(containers[0])
    message = f"a container name must be specified for pod {name}, choose one of: [{' '.join(containers)}]"
    if inits:
        message += f" or one of the init containers: [{' '.join(inits)}]"
    if ephemeral:
        message += f" or one of the ephemeral containers: [{' '.join(ephemeral)}]"
    raise status.bad_request(message)


def path_of(kind: str, pod: JsonObject, container: str = "") -> str:
    """On the node's API: `/KIND/NAMESPACE/POD[/CONTAINER]`."""
    parts = [kind, pod["metadata"]["namespace"], pod["metadata"]["name"], *([container] if container else [])]
    return "/" + "/".join(quote(part, safe="") for part in parts)


def require_node(pod: JsonObject) -> None:
    if not (pod.get("spec") or {}).get("nodeName"):
        raise status.bad_request(f"pod {pod['metadata']['name']} does not have a host assigned")


def log_path(pod: JsonObject, query: Query) -> str:
    """The node's path and query for a log. Raises ApiError 400 and 422."""
    pairs: list[tuple[str, str]] = []
    errors: list[FieldError] = []
    for name in LOG_FLAGS:
        if _flag(query, name) and name != "insecureSkipTLSVerifyBackend":
            pairs.append((name, "true"))
    for name, least in LOG_NUMBERS.items():
        text = _last(query, name)
        if not text:
            continue
        try:
            number = int(text)
        except ValueError:
            raise status.bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax') from None
        if number < least:
            bound = "greater than or equal to 0" if least == 0 else "greater than 0"
            errors.append(status.invalid_value(name, number, f"must be {bound}"))
        pairs.append((name, text))
    if since := _last(query, "sinceTime"):
        try:
            parse_rfc3339(since)
        except ValueError:
            raise status.bad_request(f'parsing time "{since}": it is not an RFC 3339 time') from None
        if _last(query, "sinceSeconds"):
            errors.append(status.forbidden_field("", "at most one of `sinceTime` or `sinceSeconds` may be specified"))
        pairs.append(("sinceTime", since))
    if stream := _last(query, "stream"):
        if stream not in STREAMS:
            errors.append(status.not_supported("stream", stream, STREAMS))
        pairs.append(("stream", stream))
    if errors:
        raise status.invalid("", "PodLogOptions", pod["metadata"]["name"], errors)
    path = path_of("containerLogs", pod, container_of(pod, _last(query, "container")))
    return f"{path}?{urlencode(pairs)}" if pairs else path


def command_options(pod: JsonObject, query: Query, *, command: bool) -> Options:
    """Of exec (`command`) and attach, with the container filled in. Raises ApiError 400 and 422."""
    try:
        options = remotecommand.options(query)
    except ValueError as error:
        raise status.bad_request(str(error)) from None
    return checked(pod, options, command=command)


def checked(pod: JsonObject, options: Options, *, command: bool) -> Options:
    if not (options.stdin or options.stdout or options.stderr):
        raise status.bad_request("you must specify at least 1 of stdin, stdout, stderr")
    if command and not options.command:
        raise status.bad_request("you must specify at least 1 command")
    require_node(pod)
    container = container_of(pod, options.container)
    return Options(container, options.command, options.stdin, options.stdout, options.stderr, options.tty)


def command_path(pod: JsonObject, options: Options, *, command: bool) -> str:
    kind = "exec" if command else "attach"
    return f"{path_of(kind, pod, options.container)}?{options.query(numbers=True)}"


def forward_ports(query: Query) -> list[int]:
    """The ports of a port-forward over the older WebSocket protocol. Raises ApiError 400."""
    texts = [text for value in query.get("ports", ()) for text in value.split(",") if text]
    try:
        ports = [int(text) for text in texts]
    except ValueError:
        raise status.bad_request(f"ports: not numbers: {','.join(texts)}") from None
    if any(not 0 < port < 65_536 for port in ports):
        raise status.bad_request("ports must be between 1 and 65535")
    return ports


def _last(query: Query, name: str) -> str:
    return (query.get(name) or ("",))[-1]


def _flag(query: Query, name: str) -> bool:
    try:
        return remotecommand.flag(query, name)
    except ValueError as error:
        raise status.bad_request(str(error)) from None
