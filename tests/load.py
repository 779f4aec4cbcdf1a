"""A load generator: `load.py URL RATE [--every-second] [--timeout-s 5]`, until stdin closes.

RATE requests a second, each on a new connection, whether or not the ones before were answered. The last line it
prints is JSON: requests sent and failed, how often each error (with the times of its first and last) and each answer
came, latencies in milliseconds. With --every-second an empty one when it begins and one for each second come before
it. It is run inside a node's network, so it stands alone: the standard library only.

On a machine with too much to do it does not get to run for seconds. That time (`stalled_s`) does not count against a
request's time-out: its answer may have been there long since. Latencies are as they were seen.
"""

import argparse
import asyncio
import collections
import contextlib
import json
import os
import sys
import time
from urllib.parse import urlsplit

MAX_ERRORS = 5
"""Kinds of them that are told apart."""
PRIORITY = -10
TICK_S = 0.005
STALL_S = 0.1
"""Who sleeps for a tick and wakes so much later was not let run."""


class Tally:
    """What a stretch of time brought."""

    def __init__(self) -> None:
        self.sent = 0
        self.failed = 0
        self._errors: dict[str, tuple[int, str, str]] = {}
        """By kind: how many, the first one's time and the last one's."""
        self.answers: collections.Counter[str] = collections.Counter()
        self.taken_ms: list[float] = []

    def answered(self, body: str, taken_ms: float) -> None:
        self.answers[body] += 1
        self.taken_ms.append(taken_ms)

    def fail(self, error: str) -> None:
        now = time.strftime("%X")
        self.failed += 1
        kind = error if error in self._errors or len(self._errors) < MAX_ERRORS else "others"
        count, first, _ = self._errors.get(kind, (0, now, now))
        self._errors[kind] = (count + 1, first, now)

    def as_json(self) -> dict[str, object]:
        ordered = sorted(self.taken_ms)
        return {
            "sent": self.sent,
            "answered": len(ordered),
            "failed": self.failed,
            "errors": [f"{count} × {kind}, {first} to {last}" for kind, (count, first, last) in self._errors.items()],
            "answers": self.answers,
            "p50_ms": ordered[len(ordered) // 2] if ordered else 0.0,
            "p99_ms": ordered[len(ordered) * 99 // 100] if ordered else 0.0,
        }


class Generator:
    """`look` is to be called all the time: it begins requests and ends those that take too long."""

    def __init__(self, url: str, rate: float, timeout_s: float) -> None:
        parts = urlsplit(url)
        self._host, self._port, self._path = parts.hostname or "", parts.port or 80, parts.path or "/"
        self._rate, self._timeout_s = rate, timeout_s
        self._loop = asyncio.get_running_loop()
        self._start = self._looked = self._loop.time()
        self._under_way: dict[asyncio.Task[None], float] = {}
        """With the time it has left to run, in the time that this process got; oldest first."""
        self._run_s = 0.0
        self.stalled_s = 0.0
        self.whole, self.second = Tally(), Tally()

    @property
    def is_busy(self) -> bool:
        return bool(self._under_way)

    def look(self, *, begin: bool) -> float:
        """Seconds since the start."""
        now = self._loop.time()
        passed_s, self._looked = now - self._looked, now
        self._run_s += min(passed_s, STALL_S)
        self.stalled_s += max(0.0, passed_s - STALL_S)
        for task, until_s in self._under_way.items():
            if until_s > self._run_s:
                break
            task.cancel()
        if begin:
            for _ in range(int((now - self._start) * self._rate) - self.whole.sent):
                self.whole.sent += 1
                self.second.sent += 1
                task = self._loop.create_task(self._one())
                self._under_way[task] = self._run_s + self._timeout_s
                task.add_done_callback(self._under_way.pop)
        return now - self._start

    async def _one(self) -> None:
        """One request; a failure says in which part of it."""
        loop = self._loop
        begun = loop.time()
        part = ["connecting"]
        try:
            body = await self._ask(part)
        except asyncio.CancelledError:
            for tally in (self.whole, self.second):
                tally.fail(f"{part[0]}: not within {self._timeout_s:g} s")
        except OSError as error:
            for tally in (self.whole, self.second):
                tally.fail(f"{part[0]}: {error!r}")
        else:
            for tally in (self.whole, self.second):
                tally.answered(body, (loop.time() - begun) * 1000)

    async def _ask(self, part: list[str]) -> str:
        reader, writer = await asyncio.open_connection(self._host, self._port)
        part[0] = "waiting for the answer"
        try:
            writer.write(f"GET {self._path} HTTP/1.1\r\nHost: {self._host}\r\nConnection: close\r\n\r\n".encode())
            answer = await reader.read()
        finally:
            writer.close()
        head, _, body = answer.partition(b"\r\n\r\n")
        if not head.startswith((b"HTTP/1.1 200", b"HTTP/1.0 200")):
            raise OSError(f"answered {head[:60]!r}")
        return body.decode().strip()


async def main(url: str, rate: float, timeout_s: float, every_second: bool) -> None:
    generator = Generator(url, rate, timeout_s)
    loop = asyncio.get_running_loop()
    done = asyncio.Event()
    loop.run_in_executor(None, lambda: (sys.stdin.read(), loop.call_soon_threadsafe(done.set)))
    if every_second:
        print(json.dumps(generator.second.as_json()), flush=True)
    reported, last_s = 0, 0.0
    while generator.is_busy or not done.is_set():
        ending = done.is_set()
        elapsed_s = generator.look(begin=not ending)
        last_s = last_s if ending else elapsed_s
        if every_second and int(elapsed_s) > reported:
            reported = int(elapsed_s)
            print(json.dumps(generator.second.as_json()), flush=True)
            generator.second = Tally()
        await asyncio.sleep(TICK_S)
    if every_second and (generator.second.sent or generator.second.taken_ms or generator.second.failed):
        print(json.dumps(generator.second.as_json()), flush=True)
    whole = {**generator.whole.as_json(), "seconds": last_s, "stalled_s": round(generator.stalled_s, 2)}
    print(json.dumps(whole), flush=True)


def take_precedence() -> None:
    """What measures must not be what waits for a processor; without the right to it goes on as it is."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, PRIORITY)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="load.py", description="Requests at a steady rate, until stdin closes.")
    parser.add_argument("url")
    parser.add_argument("rate", type=float, help="requests a second")
    parser.add_argument("--every-second", action="store_true", help="a line for each second too")
    parser.add_argument("--timeout-s", type=float, default=5.0)
    given = parser.parse_args()
    take_precedence()
    asyncio.run(main(given.url, given.rate, given.timeout_s, given.every_second))
