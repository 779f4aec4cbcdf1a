"""Probe by opening a TCP connection."""

from __future__ import annotations

import asyncio

from argosy.http import reason
from argosy.objects.types import JsonObject
from node_agent.hooks import port_number
from node_agent.probes.probe import Outcome, Result, Subject


async def probe_tcp(action: JsonObject, subject: Subject, timeout_s: float) -> Result:
    try:
        port = port_number(subject.container, action.get("port"))
    except ValueError as error:
        return Result(Outcome.UNKNOWN, str(error))
    host = str(action.get("host") or (subject.pod_ips[0] if subject.pod_ips else ""))
    shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        async with asyncio.timeout(timeout_s):
            _, writer = await asyncio.open_connection(host, port)
    except TimeoutError:
        return Result(Outcome.FAILURE, f"dial tcp {shown}: i/o timeout")
    except OSError as error:
        return Result(Outcome.FAILURE, f"dial tcp {shown}: connect: {reason(error)}")
    writer.transport.abort()
    return Result(Outcome.SUCCESS)
