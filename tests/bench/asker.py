"""`asker.py URL PODS`: asks, each time on a new connection, until that many different pods have answered.

Run inside a node's network by the demo bench, with the standard library alone.
"""

import sys
import time
import urllib.request

TIMEOUT_S = 60.0

seen: set[str] = set()
deadline = time.monotonic() + TIMEOUT_S
while len(seen) < int(sys.argv[2]):
    try:
        with urllib.request.urlopen(sys.argv[1], timeout=1) as answer:
            seen.add(answer.read().decode().split()[0])
    except OSError:
        time.sleep(0.01)
    if time.monotonic() > deadline:
        sys.exit(f"{sys.argv[1]}: only {len(seen)} pods answered")
