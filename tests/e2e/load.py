"""A load generator: `load.py URL RATE` sends RATE requests/s, each on a new connection, until stdin closes.

Prints one JSON line: requests sent and failed, the first errors, and how often each answer came.
"""

import asyncio
import collections
import json
import sys
import time
from urllib.parse import urlsplit

TIMEOUT_S = 5.0


async def request(host: str, port: int, path: str) -> str:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        answer = await reader.read()
    finally:
        writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    if not head.startswith((b"HTTP/1.1 200", b"HTTP/1.0 200")):
        raise OSError(f"answered {head[:60]!r}")
    return body.decode()


async def main(url: str, rate: float) -> None:
    parts = urlsplit(url)
    answers: collections.Counter[str] = collections.Counter()
    errors: list[str] = []
    sent = 0
    tasks: set[asyncio.Task[None]] = set()
    loop = asyncio.get_running_loop()
    done = asyncio.Event()
    loop.run_in_executor(None, lambda: (sys.stdin.read(), loop.call_soon_threadsafe(done.set)))

    async def one() -> None:
        try:
            body = await asyncio.wait_for(request(parts.hostname, parts.port or 80, parts.path or "/"), TIMEOUT_S)
            answers[body.strip()] += 1
        except (OSError, TimeoutError) as error:
            errors.append(f"{time.strftime('%X')} {error!r}")

    start = loop.time()
    while not done.is_set():
        due = int((loop.time() - start) * rate)
        while sent < due:
            task = loop.create_task(one())
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            sent += 1
        await asyncio.sleep(0.005)
    seconds = loop.time() - start
    await asyncio.gather(*tasks)
    print(
        json.dumps(
            {"sent": sent, "failed": len(errors), "errors": errors[:5], "answers": answers, "seconds": seconds}
        )
    )


asyncio.run(main(sys.argv[1], float(sys.argv[2])))
