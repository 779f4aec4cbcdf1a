"""Running the kernel's own tools (iptables-restore, nft, conntrack) with input and a limit on time.

Arguments are lists made by this package, never a shell line. Called by the appliers; tests of the Proxy hand in
appliers that run nothing.
"""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Sequence
from typing import Final

TIMEOUT_S: Final = 180.0
SHOWN_CHARS: Final = 2000


class CommandError(Exception):
    """A tool that failed; the text says which and what it printed."""


async def run(arguments: Sequence[str], text: str = "", *, allowed: Sequence[int] = (0,)) -> str:
    """What the tool printed. Raises CommandError for other exit codes, a missing tool, or too long a run."""
    try:
        done = await asyncio.to_thread(_run, arguments, text)
    except OSError as error:
        raise CommandError(f"{arguments[0]}: {error}") from None
    except subprocess.TimeoutExpired:
        raise CommandError(f"{arguments[0]}: still running after {TIMEOUT_S:.0f} s") from None
    if done.returncode not in allowed:
        message = done.stderr.decode(errors="replace").strip()[:SHOWN_CHARS]
        raise CommandError(f"{' '.join(arguments)}: exit code {done.returncode}: {message}")
    return done.stdout.decode(errors="replace")


def _run(arguments: Sequence[str], text: str) -> subprocess.CompletedProcess[bytes]:
    """In a thread: the standard library starts a process by vfork, where the event loop would fork beside gRPC."""
    return subprocess.run(list(arguments), input=text.encode(), capture_output=True, timeout=TIMEOUT_S, check=False)
