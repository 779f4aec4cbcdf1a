"""Logging for every process: a constant message and key=value pairs, one line each.

    log = logs.get("etcd.raft")
    log.info("became leader", term=3)

Lines go to stderr, or with a file name to a file that rotates at 10 MiB, three kept.
"""

from __future__ import annotations

import json
import logging
import logging.handlers
import sys

MAX_FILE_BYTES = 10 << 20
KEPT_FILES = 3


class Log:
    """A named logger whose records carry key=value pairs."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger

    def debug(self, message: str, **pairs: object) -> None:
        self._write(logging.DEBUG, message, pairs)

    def info(self, message: str, **pairs: object) -> None:
        self._write(logging.INFO, message, pairs)

    def warning(self, message: str, **pairs: object) -> None:
        self._write(logging.WARNING, message, pairs)

    def error(self, message: str, **pairs: object) -> None:
        self._write(logging.ERROR, message, pairs)

    def exception(self, message: str, **pairs: object) -> None:
        """Like `error`, with the traceback of the exception being handled."""
        self._write(logging.ERROR, message, pairs, traceback=True)

    def _write(self, level: int, message: str, pairs: dict[str, object], traceback: bool = False) -> None:
        if self._logger.isEnabledFor(level):
            tail = "".join(f" {key}={_shown(value)}" for key, value in pairs.items())
            self._logger.log(level, "%s%s", message, tail, exc_info=traceback)


def get(name: str) -> Log:
    return Log(logging.getLogger(name))


def setup(level: str = "info", file: str = "") -> None:
    """Configure the root logger of a process; called once, by its entry point."""
    handler: logging.Handler
    if file:
        handler = logging.handlers.RotatingFileHandler(
            file, maxBytes=MAX_FILE_BYTES, backupCount=KEPT_FILES, encoding="utf-8"
        )
    else:
        handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname).1s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())


def _shown(value: object) -> str:
    text = str(value)
    if not text or any(char in text for char in ' "=\n\r\t'):
        return json.dumps(text)
    return text
