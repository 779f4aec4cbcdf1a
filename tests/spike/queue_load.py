"""Fills a queue in Redis: `python -m tests.spike.queue_load HOST RATE`, until stdin closes; then until it is done.

RATE items a second go into the list `jobs`; workers put `ITEM:NAME` into the list `done`. It prints what
`tests/load.py --every-second` prints, with the time from an item's coming to its being done as the latency, and
`queued`: how long the list is. Items that nobody does within `--patience-s` after the last one failed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys

from redis.asyncio import Redis

from tests.load import Tally, take_precedence

PORT = 6379
AT_ONCE = 1000


class Queue:
    """What is in it by our count: `begun` holds when each item that is not done came."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self.begun: dict[str, float] = {}
        self.whole, self.second = Tally(), Tally()

    async def put(self, count: int) -> None:
        now = asyncio.get_running_loop().time()
        items = [str(self.whole.sent + number) for number in range(count)]
        await self._redis.rpush("jobs", *items)
        self.begun |= dict.fromkeys(items, now)
        for tally in (self.whole, self.second):
            tally.sent += count

    async def take(self) -> None:
        """What was done since; an item that is told twice counts once."""
        now = asyncio.get_running_loop().time()
        told = await self._redis.lpop("done", AT_ONCE)
        for text in told if isinstance(told, list) else ():
            item, _, worker = (text.decode() if isinstance(text, bytes) else text).partition(":")
            begun = self.begun.pop(item, None)
            if begun is not None:
                for tally in (self.whole, self.second):
                    tally.answered(worker, (now - begun) * 1000)

    async def report(self) -> None:
        queued = await self._redis.llen("jobs")
        print(json.dumps({**self.second.as_json(), "queued": queued}), flush=True)
        self.second = Tally()


async def main(host: str, rate: float, patience_s: float) -> None:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.run_in_executor(None, lambda: (sys.stdin.read(), loop.call_soon_threadsafe(ended.set)))
    redis = Redis(host=host, port=PORT, socket_timeout=10.0, socket_connect_timeout=10.0)
    queue = Queue(redis)
    await queue.report()
    start = last = loop.time()
    reported = 0
    while not ended.is_set() or (queue.begun and loop.time() - last < patience_s):
        if not ended.is_set():
            last = loop.time()
            due = int((last - start) * rate) - queue.whole.sent
            if due > 0:
                await queue.put(due)
        await queue.take()
        if int(loop.time() - start) > reported:
            reported = int(loop.time() - start)
            await queue.report()
        await asyncio.sleep(0.02)
    await queue.report()
    for _ in queue.begun:
        queue.whole.fail(f"not done {patience_s:.0f} s after the last one came")
    print(json.dumps({**queue.whole.as_json(), "seconds": last - start}), flush=True)
    await redis.aclose()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.spike.queue_load")
    parser.add_argument("host")
    parser.add_argument("rate", type=float, help="items a second")
    parser.add_argument("--patience-s", type=float, default=90.0)
    given = parser.parse_args()
    take_precedence()
    asyncio.run(main(given.host, given.rate, given.patience_s))
