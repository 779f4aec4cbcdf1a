"""Probe by a command in the container: exit code 0 is success."""

from __future__ import annotations

from argosy.objects.types import JsonObject
from node_agent.probes.probe import Outcome, Result, Subject
from node_agent.runtime.runtime import TIMEOUT, UNAVAILABLE, Runtime, RuntimeFailure

MAX_OUTPUT_BYTES = 10 << 10


async def probe_exec(runtime: Runtime, action: JsonObject, subject: Subject, timeout_s: float) -> Result:
    command = [str(word) for word in action.get("command") or []]
    try:
        done = await runtime.exec_sync(subject.container_id, command, timeout_s)
    except RuntimeFailure as failure:
        shown = " ".join(command)
        if failure.reason == TIMEOUT or "timeout" in failure.message:
            return Result(Outcome.FAILURE, f'command timed out: "{shown}" timed out after {timeout_s:g}s')
        if failure.reason == UNAVAILABLE:
            return Result(Outcome.UNKNOWN, failure.message)
        return Result(Outcome.UNKNOWN, f"rpc error: {failure.message}")
    text = (done.stdout + done.stderr)[:MAX_OUTPUT_BYTES].decode("utf-8", "replace")
    return Result(Outcome.SUCCESS if done.exit_code == 0 else Outcome.FAILURE, text)
