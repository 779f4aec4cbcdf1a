"""Lifecycle handlers: postStart and preStop by exec, HTTP or sleep (upstream pkg/kubelet/lifecycle)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from argosy.http import HttpError, Request
from argosy.objects.types import JsonObject
from node_agent.runtime.runtime import RuntimeFailure
from node_agent.seams import Tools

HTTP_TIMEOUT_S = 60.0
EXEC_TIMEOUT_S = 3600.0
"""The pod's grace period ends a preStop earlier."""
USER_AGENT = "kube-lifecycle/1.36"


class HookError(Exception):
    """A handler that failed; the message says how."""


def port_number(container: JsonObject, port: object) -> int:
    """A probe's or hook's port by number or by the container's port name. Raises ValueError."""
    if isinstance(port, int):
        return port
    for item in container.get("ports") or []:
        if item.get("name") == port:
            return int(item["containerPort"])
    text = str(port)
    if text.isdigit():
        return int(text)
    raise ValueError(f'couldn\'t find port: "{text}" in container "{container["name"]}"')


def url_of(action: JsonObject, port: int, default_host: str) -> str:
    host = str(action.get("host") or default_host)
    shown = f"[{host}]" if ":" in host else host
    path = str(action.get("path") or "/")
    scheme = str(action.get("scheme") or "HTTP").lower()
    return f"{scheme}://{shown}:{port}{path if path.startswith('/') else '/' + path}"


def headers_of(action: JsonObject, user_agent: str) -> dict[str, str]:
    """Headers by name; an entry with an empty value removes a default one."""
    result = {"user-agent": user_agent, "accept": "*/*"}
    for header in action.get("httpHeaders") or []:
        name, value = str(header["name"]).lower(), str(header.get("value") or "")
        if value:
            result[name] = value
        else:
            result.pop(name, None)
    return result


async def run_handler(
    tools: Tools, handler: JsonObject, container: JsonObject, container_id: str, pod_ips: Sequence[str]
) -> None:
    """Raises HookError; cancelling it abandons the handler."""
    if handler.get("exec"):
        command = [str(word) for word in handler["exec"].get("command") or []]
        try:
            result = await tools.runtime.exec_sync(container_id, command, EXEC_TIMEOUT_S)
        except RuntimeFailure as failure:
            raise HookError(f"Exec lifecycle hook ({command}) failed - error: {failure.message}") from None
        if result.exit_code != 0:
            output = (result.stdout + result.stderr).decode("utf-8", "replace")[:1024]
            raise HookError(f"command '{' '.join(command)}' exited with {result.exit_code}: {output}")
    elif handler.get("httpGet"):
        action = handler["httpGet"]
        try:
            port = port_number(container, action.get("port"))
            url = url_of(action, port, pod_ips[0] if pod_ips else "")
            request = Request("GET", url, headers_of(action, USER_AGENT))
            response = await tools.http.send(request, timeout_s=HTTP_TIMEOUT_S, max_body_bytes=10 << 10)
        except (HttpError, ValueError) as error:
            raise HookError(f"HTTP lifecycle hook failed - error: {error}") from None
        if response.status >= 400:
            raise HookError(f"HTTP lifecycle hook ({url}) failed: status {response.status}")
    elif handler.get("sleep"):
        await asyncio.sleep(float(handler["sleep"].get("seconds", 0)))
    else:
        raise HookError(f"invalid handler: {', '.join(sorted(handler)) or 'empty'}")
