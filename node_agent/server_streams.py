"""Where the runtime serves exec, attach and port-forward: CRI calls that answer with a URL.

`server.py` passes the client's upgraded connection on to that URL, byte for byte.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar
from urllib.parse import urlsplit

from google.protobuf.message import Message

from argosy.pb import cri_pb2 as pb
from argosy.streaming.http1 import Target
from argosy.streaming.remotecommand import Options
from node_agent.runtime.runtime import RuntimeFailure

M = TypeVar("M", bound=Message)
TIMEOUT_S = 30.0


class CriCalls(Protocol):
    """`node_agent.runtime.cri.CriRuntime`."""

    async def call(self, method: str, request: Message, answer: type[M], *, timeout_s: float) -> M: ...


class Streams(Protocol):
    """URLs that take one upgraded connection each. Every call raises RuntimeFailure."""

    async def exec(self, container_id: str, options: Options) -> str: ...

    async def attach(self, container_id: str, options: Options) -> str: ...

    async def port_forward(self, sandbox_id: str, ports: Sequence[int]) -> str: ...


class CriStreams:
    def __init__(self, runtime: CriCalls) -> None:
        self._runtime = runtime

    async def exec(self, container_id: str, options: Options) -> str:
        request = pb.ExecRequest(
            container_id=container_id,
            cmd=options.command,
            tty=options.tty,
            stdin=options.stdin,
            stdout=options.stdout,
            stderr=options.stderr and not options.tty,
        )
        return (await self._runtime.call("Exec", request, pb.ExecResponse, timeout_s=TIMEOUT_S)).url

    async def attach(self, container_id: str, options: Options) -> str:
        request = pb.AttachRequest(
            container_id=container_id,
            stdin=options.stdin,
            tty=options.tty,
            stdout=options.stdout,
            stderr=options.stderr and not options.tty,
        )
        return (await self._runtime.call("Attach", request, pb.AttachResponse, timeout_s=TIMEOUT_S)).url

    async def port_forward(self, sandbox_id: str, ports: Sequence[int]) -> str:
        request = pb.PortForwardRequest(pod_sandbox_id=sandbox_id, port=ports)
        return (await self._runtime.call("PortForward", request, pb.PortForwardResponse, timeout_s=TIMEOUT_S)).url


class NoStreams:
    """For runtimes without a streaming server (hollow nodes): refuses by name."""

    async def exec(self, container_id: str, options: Options) -> str:
        raise RuntimeFailure("exec is not supported by this node's runtime")

    async def attach(self, container_id: str, options: Options) -> str:
        raise RuntimeFailure("attach is not supported by this node's runtime")

    async def port_forward(self, sandbox_id: str, ports: Sequence[int]) -> str:
        raise RuntimeFailure("port-forward is not supported by this node's runtime")


def target(url: str) -> tuple[Target, str]:
    """Where to connect, and the path to ask for. Raises RuntimeFailure for a URL that is no plain http one."""
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname:
        raise RuntimeFailure(f"the runtime's streaming URL is not supported: {parts.scheme}://{parts.netloc}")
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    return Target(parts.hostname, parts.port or 80), path
