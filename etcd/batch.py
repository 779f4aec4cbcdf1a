"""Group commit: requests that come together share one log entry.

Up to `MAX_REQUESTS` requests make one command, and at most `MAX_IN_FLIGHT` commands are under way, so that under
load each entry, message and fdatasync carries many requests while a lone request waits for nobody.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from etcd import errors
from etcd.errors import StoreError
from etcd.machine import Kind

MAX_REQUESTS = 4096
MAX_BYTES = 2 << 20
MAX_IN_FLIGHT = 4
MAX_WAITING = 50_000
TIMEOUT_S = 7.0
"""etcd's: 5 s and twice an election."""
RETRY_S = 0.05

Answers = list["bytes | StoreError"]
Command = list[tuple[int, bytes]]

_decoder = msgspec.msgpack.Decoder(Command)
_encoder = msgspec.msgpack.Encoder()


def decode(command: bytes) -> Command:
    """Raises msgspec.DecodeError."""
    return _decoder.decode(command)


@dataclass
class _Waiting:
    kind: int
    request: bytes
    future: asyncio.Future[bytes]
    deadline: float


class Batcher:
    """Requests in, one future each; commands out through `submit`."""

    def __init__(
        self,
        submit: Callable[[bytes, Callable[[Answers | None, int], None]], None],
        ready: Callable[[], bool],
        never_appended: tuple[int, ...],
    ) -> None:
        """`ready` says whether a leader is known; error codes in `never_appended` may be tried again."""
        self._submit = submit
        self._ready = ready
        self._never_appended = never_appended
        self._waiting: deque[_Waiting] = deque()
        self._in_flight: dict[int, tuple[list[_Waiting], asyncio.TimerHandle]] = {}
        self._number = 0
        self._scheduled = False

    def put(self, kind: Kind, request: bytes) -> asyncio.Future[bytes]:
        """Raises StoreError when too many wait already; the future raises it too."""
        if len(self._waiting) >= MAX_WAITING:
            raise errors.too_many_requests()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[bytes] = loop.create_future()
        self._waiting.append(_Waiting(int(kind), request, future, loop.time() + TIMEOUT_S))
        self.kick()
        return future

    def kick(self) -> None:
        """Send what waits at the end of this round of the event loop: more may come."""
        if self._waiting and not self._scheduled and len(self._in_flight) < MAX_IN_FLIGHT:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._flush)

    def sweep(self) -> None:
        """Called now and then: requests that waited too long for a leader fail."""
        now = asyncio.get_running_loop().time()
        while self._waiting and self._waiting[0].deadline <= now:
            _fail(self._waiting.popleft(), errors.timed_out())
        self.kick()

    def fail_in_flight(self) -> None:
        """Leadership changed: what was under way may or may not be applied."""
        batches, self._in_flight = self._in_flight, {}
        for batch, timer in batches.values():
            timer.cancel()
            for waiting in batch:
                _fail(waiting, errors.leader_changed())
        self.kick()

    def close(self) -> None:
        self.fail_in_flight()
        while self._waiting:
            _fail(self._waiting.popleft(), errors.stopped())

    def _flush(self) -> None:
        self._scheduled = False
        while self._waiting and len(self._in_flight) < MAX_IN_FLIGHT and self._ready():
            self._send(self._take())

    def _take(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        size = 0
        while self._waiting and len(batch) < MAX_REQUESTS:
            size += len(self._waiting[0].request)
            if batch and size > MAX_BYTES:
                break
            waiting = self._waiting.popleft()
            if not waiting.future.done():
                batch.append(waiting)
        return batch

    def _send(self, batch: list[_Waiting]) -> None:
        if not batch:
            return
        self._number += 1
        number = self._number
        timer = asyncio.get_running_loop().call_later(TIMEOUT_S, self._expire, number)
        self._in_flight[number] = (batch, timer)
        command = _encoder.encode([(waiting.kind, waiting.request) for waiting in batch])
        self._submit(command, lambda answers, code: self._done(number, answers, code))

    def _done(self, number: int, answers: Answers | None, code: int) -> None:
        found = self._in_flight.pop(number, None)
        if found is None:
            return
        batch, timer = found
        timer.cancel()
        if answers is not None:
            for waiting, answer in zip(batch, answers, strict=True):
                if waiting.future.done():
                    continue
                if isinstance(answer, bytes):
                    waiting.future.set_result(answer)
                else:
                    waiting.future.set_exception(answer)
        elif code in self._never_appended:
            self._waiting.extendleft(reversed(batch))
            asyncio.get_running_loop().call_later(RETRY_S, self.kick)
            return
        else:
            for waiting in batch:
                _fail(waiting, errors.leader_changed())
        self.kick()

    def _expire(self, number: int) -> None:
        found = self._in_flight.pop(number, None)
        if found is not None:
            for waiting in found[0]:
                _fail(waiting, errors.timed_out())
            self.kick()


def _fail(waiting: _Waiting, error: StoreError) -> None:
    if not waiting.future.done():
        waiting.future.set_exception(error)
