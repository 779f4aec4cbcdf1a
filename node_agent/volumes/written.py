"""Volumes whose files the agent writes: configMap, secret, downwardAPI and projected share how they are stored."""

from __future__ import annotations

import os

from node_agent import mounts
from node_agent.volumes import atomic
from node_agent.volumes.source import Payload, Setting


def store(setting: Setting, payload: Payload, *, in_memory: bool) -> str:
    """Secrets and tokens go to a tmpfs, so that they never reach a disk. Raises OSError."""
    os.makedirs(setting.path, mode=0o755, exist_ok=True)
    if in_memory and not os.path.ismount(setting.path):
        mounts.tmpfs(setting.path)
    if atomic.write(setting.path, payload, setting.fs_group, setting.clock.now()) and setting.fs_group is not None:
        os.chown(setting.path, -1, setting.fs_group)
    return setting.path
