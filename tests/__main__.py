"""`python -m tests`: every test, in two sessions of pytest side by side.

The end-to-end tests mostly wait for their cluster, so that everything else finds room beside them, at a lower
priority: what they wait for shall not wait for processors. A line says of which session it is. Exits with 1 when one
of them failed.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Sequence

SESSIONS = {
    "e2e": ("tests/e2e",),
    "rest": ("tests/unit", "tests/conformance", "tests/sim"),
}
LESSER = {"rest": ("nice", "-n", "5")}


def run(name: str, folders: Sequence[str]) -> subprocess.Popen[str]:
    command = [*LESSER.get(name, ()), sys.executable, "-m", "pytest", *folders]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")


def copy(name: str, process: subprocess.Popen[str], output: threading.Lock) -> None:
    """Each line as soon as it is whole."""
    assert process.stdout is not None
    for line in process.stdout:
        with output:
            print(f"{name:>4} | {line}", end="", flush=True)


def main() -> int:
    output = threading.Lock()
    processes = {name: run(name, folders) for name, folders in SESSIONS.items()}
    threads = [
        threading.Thread(target=copy, args=(name, process, output), daemon=True)
        for name, process in processes.items()
    ]
    for thread in threads:
        thread.start()
    # Then they clean up and end, as they do when the terminal tells all of us to stop.
    signal.signal(signal.SIGTERM, lambda *_: [process.send_signal(signal.SIGINT) for process in processes.values()])
    while True:
        try:
            codes = {name: process.wait() for name, process in processes.items()}
        except KeyboardInterrupt:
            continue
        break
    for thread in threads:
        thread.join()
    for name, code in codes.items():
        print(f"{name:>4} | {'passed' if code == 0 else f'failed, exit code {code}'}")
    return 1 if any(codes.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
