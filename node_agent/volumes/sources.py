"""All volume sources that this node can set up; any other is refused by its name."""

from __future__ import annotations

from node_agent.volumes.claim import Ephemeral, PersistentVolumeClaim
from node_agent.volumes.config_map import ConfigMap
from node_agent.volumes.downward import Downward
from node_agent.volumes.empty_dir import EmptyDir
from node_agent.volumes.host_path import HostPath
from node_agent.volumes.projected import Projected
from node_agent.volumes.secret import Secret
from node_agent.volumes.source import Source

ALL: tuple[Source, ...] = (
    ConfigMap(),
    Downward(),
    EmptyDir(),
    Ephemeral(),
    HostPath(),
    PersistentVolumeClaim(),
    Projected(),
    Secret(),
)
