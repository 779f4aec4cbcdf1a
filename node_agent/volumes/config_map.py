"""configMap: a ConfigMap's keys as files, kept up to date."""

from __future__ import annotations

from node_agent.volumes.payloads import config_map_payload, default_mode
from node_agent.volumes.source import Setting
from node_agent.volumes.written import store


class ConfigMap:
    field = "configMap"
    folder = "kubernetes.io~configmap"

    async def set_up(self, setting: Setting) -> str:
        source = setting.volume[self.field]
        payload = await config_map_payload(setting, source, default_mode(source))
        return store(setting, payload, in_memory=False)
