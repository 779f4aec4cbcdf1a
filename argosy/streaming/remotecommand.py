"""The words of Kubernetes' exec, attach and port-forward: protocols, channels, options, exit statuses. Pure.

Source of the names: k8s.io/apimachinery `pkg/util/remotecommand/constants.go`, k8s.io/api/core/v1 `PodExecOptions`,
k8s.io/client-go `tools/remotecommand`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

import orjson

from argosy.objects.types import JsonObject

STDIN, STDOUT, STDERR, ERROR, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255
"""Channels of the WebSocket protocols; CLOSE (v5) is followed by the channel that ends."""

V1, V2, V3 = "channel.k8s.io", "v2.channel.k8s.io", "v3.channel.k8s.io"
V4, V5 = "v4.channel.k8s.io", "v5.channel.k8s.io"
WEBSOCKET_PROTOCOLS: Final = (V5, V4, V1, "v4.base64.channel.k8s.io", "base64.channel.k8s.io")
LOG_PROTOCOLS: Final = ("binary.k8s.io", "base64.binary.k8s.io")
"""Of a log in WebSocket messages."""
SPDY_PROTOCOLS: Final = (V4, V3, V2, V1)
PORT_FORWARD: Final = "portforward.k8s.io"
PORT_FORWARD_TUNNEL: Final = "SPDY/3.1+portforward.k8s.io"
STREAM_VERSION: Final = "X-Stream-Protocol-Version"

STREAM_NAMES: Final = {STDIN: "stdin", STDOUT: "stdout", STDERR: "stderr", ERROR: "error", RESIZE: "resize"}
"""The `streamtype` header of each channel's SPDY stream."""
EXIT_CODE_CAUSE: Final = "ExitCode"
NON_ZERO_EXIT: Final = "NonZeroExitCode"


@dataclass(frozen=True)
class Options:
    """PodExecOptions and PodAttachOptions."""

    container: str = ""
    command: Sequence[str] = ()
    stdin: bool = False
    stdout: bool = False
    stderr: bool = False
    tty: bool = False

    def channels(self) -> tuple[int, ...]:
        """The channels in use, in the order in which their streams are opened."""
        result = [ERROR]
        result += [STDIN] if self.stdin else []
        result += [STDOUT] if self.stdout else []
        result += [STDERR] if self.stderr and not self.tty else []
        result += [RESIZE] if self.tty else []
        return tuple(result)

    def query(self, *, numbers: bool = False) -> str:
        """As the API server (`stdin=true`) or the kubelet (`input=1`) takes it."""
        pairs = [("command", word) for word in self.command]
        names = ("input", "output", "error") if numbers else ("stdin", "stdout", "stderr")
        wanted = (self.stdin, self.stdout, self.stderr)
        yes = "1" if numbers else "true"
        pairs += [(name, yes) for name, on in zip(names, wanted, strict=True) if on]
        pairs += [("tty", yes)] if self.tty else []
        return urlencode(pairs)


def options(values: Mapping[str, Sequence[str]]) -> Options:
    """From the API server's query. Raises ValueError."""
    return Options(
        container=_last(values, "container"),
        command=tuple(values.get("command", ())),
        stdin=flag(values, "stdin"),
        stdout=flag(values, "stdout"),
        stderr=flag(values, "stderr"),
        tty=flag(values, "tty"),
    )


def options_of(body: JsonObject) -> Options:
    """From a PodExecOptions object. Raises ValueError."""
    command = body.get("command") or ()
    if not isinstance(command, list | tuple) or not all(isinstance(word, str) for word in command):
        raise ValueError("command must be a list of strings")
    return Options(
        container=str(body.get("container") or ""),
        command=tuple(command),
        **{name: bool(body.get(name)) for name in ("stdin", "stdout", "stderr", "tty")},
    )


def _last(values: Mapping[str, Sequence[str]], name: str) -> str:
    found = values.get(name) or ("",)
    return found[-1]


def flag(values: Mapping[str, Sequence[str]], name: str) -> bool:
    """Go's strconv.ParseBool as the API uses it: absent is false, present and empty is true. Raises ValueError."""
    if name not in values:
        return False
    text = _last(values, name)
    if text in ("", "1", "t", "T", "true", "TRUE", "True"):
        return True
    if text in ("0", "f", "F", "false", "FALSE", "False"):
        return False
    raise ValueError(f'{name}: "{text}" is not true or false')


def choose(offered: Sequence[str], known: Sequence[str]) -> str:
    """The first offered protocol that is known; empty for none."""
    return next((name for name in offered if name in known), "")


def offered(values: Sequence[str]) -> list[str]:
    """The names in header lines that may hold several, comma-separated."""
    return [name.strip() for value in values for name in value.split(",") if name.strip()]


def success() -> JsonObject:
    return {"metadata": {}, "status": "Success"}


def exit_status(code: int, message: str = "") -> JsonObject:
    """The Status that tells a command's exit code."""
    if code == 0:
        return success()
    text = message or f"command terminated with non-zero exit code: exit status {code}"
    return {
        "metadata": {},
        "status": "Failure",
        "message": text,
        "reason": NON_ZERO_EXIT,
        "details": {"causes": [{"reason": EXIT_CODE_CAUSE, "message": str(code)}]},
    }


def failure(message: str) -> JsonObject:
    """The Status of a command that could not run to its end."""
    return {
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": "InternalError",
        "details": {"causes": [{"message": message}]},
        "code": 500,
    }


def status_from(data: bytes) -> JsonObject:
    """What came on an error stream: a Status (v4, v5), or a plain message (v1 to v3); empty means success."""
    if not data:
        return success()
    try:
        found: Any = orjson.loads(data)
    except orjson.JSONDecodeError:
        found = None
    if isinstance(found, dict) and "status" in found:
        return found
    return failure(data.decode("utf-8", "replace"))


def exit_code(status: JsonObject) -> int | None:
    """The command's exit code; None when it did not end by itself."""
    if status.get("status") == "Success":
        return 0
    if status.get("reason") == NON_ZERO_EXIT:
        for cause in (status.get("details") or {}).get("causes") or ():
            if cause.get("reason") == EXIT_CODE_CAUSE:
                try:
                    return int(cause["message"])
                except (KeyError, ValueError):
                    return None
    return None
