"""secret: a Secret's keys as files in memory, kept up to date."""

from __future__ import annotations

from node_agent.volumes.payloads import default_mode, secret_payload
from node_agent.volumes.source import Setting
from node_agent.volumes.written import store


class Secret:
    field = "secret"
    folder = "kubernetes.io~secret"

    async def set_up(self, setting: Setting) -> str:
        source = setting.volume[self.field]
        payload = await secret_payload(setting, source, default_mode(source), str(source.get("secretName", "")))
        return store(setting, payload, in_memory=True)
