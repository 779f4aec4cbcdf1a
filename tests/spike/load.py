"""A load generator that reports: `load.py URL RATE` asks RATE times a second, each time on a new connection.

It prints a line of JSON each second (answered, failed, latencies in milliseconds, who answered), until stdin closes.
"""

import asyncio
import collections
import json
import sys
from urllib.parse import urlsplit

TIMEOUT_S = 10.0


async def ask(host: str, port: int, path: str) -> str:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(f"GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
        answer = await reader.read()
    finally:
        writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    if b" 200 " not in head[:20]:
        raise OSError(f"answered {head[:60]!r}")
    return body.decode().strip()


async def main(url: str, rate: float) -> None:
    parts = urlsplit(url)
    host, port, path = parts.hostname or "", parts.port or 80, parts.path or "/"
    loop = asyncio.get_running_loop()
    done = asyncio.Event()
    loop.run_in_executor(None, lambda: (sys.stdin.read(), loop.call_soon_threadsafe(done.set)))
    taken_ms: list[float] = []
    failed: list[str] = []
    by: collections.Counter[str] = collections.Counter()
    tasks: set[asyncio.Task[None]] = set()

    async def one() -> None:
        begun = loop.time()
        try:
            who = await asyncio.wait_for(ask(host, port, path), TIMEOUT_S)
        except (OSError, TimeoutError) as error:
            failed.append(repr(error))
            return
        taken_ms.append((loop.time() - begun) * 1000)
        by[who] += 1

    start, sent, reported = loop.time(), 0, 0
    while not done.is_set() or tasks:
        now = loop.time() - start
        while not done.is_set() and sent < int(now * rate):
            task = loop.create_task(one())
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            sent += 1
        if int(now) > reported:
            reported = int(now)
            taken_ms.sort()
            line = {
                "answered": len(taken_ms),
                "failed": len(failed),
                "errors": failed[:2],
                "p50_ms": taken_ms[len(taken_ms) // 2] if taken_ms else 0.0,
                "p99_ms": taken_ms[len(taken_ms) * 99 // 100] if taken_ms else 0.0,
                "by": dict(by),
            }
            print(json.dumps(line), flush=True)
            taken_ms.clear()
            failed.clear()
            by.clear()
        await asyncio.sleep(0.005)


asyncio.run(main(sys.argv[1], float(sys.argv[2])))
