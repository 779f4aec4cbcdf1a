"""projected: several sources in one folder, among them service account tokens that are renewed in time."""

from __future__ import annotations

from node_agent.volumes.payloads import (
    config_map_payload,
    default_mode,
    downward_payload,
    secret_payload,
    token_payload,
)
from node_agent.volumes.source import Entry, Setting
from node_agent.volumes.written import store


class Projected:
    field = "projected"
    folder = "kubernetes.io~projected"

    async def set_up(self, setting: Setting) -> str:
        projected = setting.volume[self.field]
        mode = default_mode(projected)
        payload: dict[str, Entry] = {}
        for source in projected.get("sources") or []:
            if source.get("configMap"):
                payload |= await config_map_payload(setting, source["configMap"], mode)
            elif source.get("secret"):
                payload |= await secret_payload(setting, source["secret"], mode, str(source["secret"]["name"]))
            elif source.get("downwardAPI"):
                payload |= downward_payload(setting, source["downwardAPI"], mode)
            elif source.get("serviceAccountToken"):
                payload |= await token_payload(setting, source["serviceAccountToken"], mode)
            else:
                kind = ", ".join(sorted(source)) or "empty"
                raise setting.error(f"projected volume source {kind} is not supported on this node", final=True)
        return store(setting, payload, in_memory=True)
