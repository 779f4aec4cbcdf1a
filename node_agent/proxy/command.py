"""Running the kernel's own tools (iptables-restore, nft, conntrack) with input and a limit on time.

Arguments are lists made by this package, never a shell line. Called by the appliers; tests of the Proxy hand in
appliers that run nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

TIMEOUT_S: Final = 180.0
SHOWN_CHARS: Final = 2000


class CommandError(Exception):
    """A tool that failed; the text says which and what it printed."""


async def run(arguments: Sequence[str], text: str = "", *, allowed: Sequence[int] = (0,)) -> str:
    """What the tool printed. Raises CommandError for other exit codes, a missing tool, or too long a run."""
    try:
        process = await asyncio.create_subprocess_exec(
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    except OSError as error:
        raise CommandError(f"{arguments[0]}: {error}") from None
    try:
        async with asyncio.timeout(TIMEOUT_S):
            output, errors = await process.communicate(text.encode())
    except TimeoutError:
        raise CommandError(f"{arguments[0]}: still running after {TIMEOUT_S:.0f} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode not in allowed:
        message = errors.decode(errors="replace").strip()[:SHOWN_CHARS]
        raise CommandError(f"{' '.join(arguments)}: exit code {process.returncode}: {message}")
    return output.decode(errors="replace")
