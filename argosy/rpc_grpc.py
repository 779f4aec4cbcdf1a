"""The client's side of gRPC by its own library, and the only importer of grpc.

`argosy.rpc.GrpcNetwork.dial` is the caller; it loads this module when a process first dials.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any

# No process of ours forks without an exec at once; gRPC's fork handlers would only stop its threads on each.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")

import grpc
import grpc.aio

from argosy.rpc import MAX_MESSAGE_BYTES, Channel, Code, Metadata, RpcError, Tls

_CHANNEL_OPTIONS: list[tuple[str, int | str]] = [
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
]


def _pairs(metadata: Metadata | None) -> list[tuple[str, str | bytes]]:
    return list(metadata.items()) if metadata else []


def _translate(error: Any) -> RpcError:
    number: int = error.code().value[0]
    trailing: dict[str, str | bytes] = {}
    for key, value in error.trailing_metadata() or ():
        trailing[str(key)] = value
    return RpcError(Code(number), error.details() or "", trailing)


class GrpcChannel:
    def __init__(self, channel: Any) -> None:
        self._channel = channel
        self._unary: dict[str, Any] = {}
        self._closed = False

    def _ended(self) -> bool:
        """A call was cancelled by `close`, not by who awaits it: to them it failed."""
        task = asyncio.current_task()
        return self._closed and (task is None or not task.cancelling())

    async def unary(
        self, method: str, request: bytes, *, timeout_s: float | None = None, metadata: Metadata | None = None
    ) -> bytes:
        call = self._unary.get(method)
        if call is None:
            call = self._unary[method] = self._channel.unary_unary(method)
        try:
            answer: bytes = await call(request, timeout=timeout_s, metadata=_pairs(metadata) or None)
        except asyncio.CancelledError:
            if self._ended():
                raise RpcError(Code.CANCELLED, "the channel is closed") from None
            raise
        except grpc.aio.AioRpcError as error:
            raise _translate(error) from None
        except grpc.aio.UsageError as error:
            raise RpcError(Code.UNAVAILABLE, str(error)) from None
        return answer

    async def stream(
        self, method: str, requests: bytes | AsyncIterator[bytes], *, metadata: Metadata | None = None
    ) -> AsyncIterator[bytes]:
        pairs = _pairs(metadata) or None
        if isinstance(requests, bytes):
            call: Any = self._channel.unary_stream(method)(requests, metadata=pairs)
        else:
            call = self._channel.stream_stream(method)(requests, metadata=pairs)
        try:
            async for message in call:
                yield message
        except asyncio.CancelledError:
            if self._ended():
                raise RpcError(Code.CANCELLED, "the channel is closed") from None
            raise
        except grpc.aio.AioRpcError as error:
            raise _translate(error) from None
        except grpc.aio.UsageError as error:
            raise RpcError(Code.UNAVAILABLE, str(error)) from None
        finally:
            call.cancel()

    async def close(self) -> None:
        self._closed = True
        await self._channel.close()


def dial(address: str, tls: Tls | None) -> Channel:
    """Connects lazily, on the first call."""
    options = list(_CHANNEL_OPTIONS)
    if address.startswith("unix:"):
        options.append(("grpc.default_authority", "localhost"))
    if tls is None:
        return GrpcChannel(grpc.aio.insecure_channel(address, options=options))
    if tls.server_name:
        options.append(("grpc.ssl_target_name_override", tls.server_name))
    credentials = grpc.ssl_channel_credentials(tls.ca, tls.key or None, tls.certificate or None)
    return GrpcChannel(grpc.aio.secure_channel(address, credentials, options=options))
