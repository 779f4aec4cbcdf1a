"""downwardAPI: the pod's own fields as files; labels and annotations follow their changes."""

from __future__ import annotations

from node_agent.volumes.payloads import default_mode, downward_payload
from node_agent.volumes.source import Setting
from node_agent.volumes.written import store


class Downward:
    field = "downwardAPI"
    folder = "kubernetes.io~downward-api"

    async def set_up(self, setting: Setting) -> str:
        source = setting.volume[self.field]
        return store(setting, downward_payload(setting, source, default_mode(source)), in_memory=True)
