"""Where a cluster of this machine keeps its files, and what it is called in a kubeconfig.

`deploy.layout` makes everything there; the SDK and the command line look there for sockets and certificates.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

DEFAULT_NAME: Final = "argosy"
STATE_ROOT: Final = "/var/lib/argosy"
RUN_ROOT: Final = "/run/argosy"
LOGS_ROOT: Final = "/var/log/argosy"


def context_name(cluster: str) -> str:
    """`argosy`, and `argosy-NAME` for a cluster of another name."""
    return DEFAULT_NAME if cluster == DEFAULT_NAME else f"{DEFAULT_NAME}-{cluster}"


def cluster_name(context: str) -> str:
    """The cluster whose context has that name; empty for one that `context_name` never gives."""
    if context == DEFAULT_NAME:
        return DEFAULT_NAME
    return context.removeprefix(f"{DEFAULT_NAME}-") if context.startswith(f"{DEFAULT_NAME}-") else ""


def state(cluster: str) -> Path:
    """Certificates, store members, nodes."""
    return Path(STATE_ROOT, cluster)


def api_sockets(cluster: str) -> list[Path]:
    """gRPC of each API server that was started on this machine. Raises PermissionError for who may not look."""
    folder = Path(RUN_ROOT, cluster)
    try:
        names = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [folder / name for name in sorted(names) if name.startswith("api") and name.endswith(".sock")]
