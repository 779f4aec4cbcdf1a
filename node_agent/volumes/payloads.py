"""The files that ConfigMaps, Secrets, the downward API and tokens make; shared by their sources and by projected."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from argosy.objects import meta
from argosy.objects.types import JsonObject
from node_agent.environment import ConfigError, data_of
from node_agent.fields import FieldError, field_value, resource_value
from node_agent.volumes.source import DEFAULT_MODE, Entry, Setting, checked_path

DEFAULT_TOKEN_EXPIRATION_S = 3600


def default_mode(source: JsonObject) -> int:
    mode = source.get("defaultMode")
    return DEFAULT_MODE if mode is None else int(mode)


def picked(
    setting: Setting, content: Mapping[str, bytes], source: JsonObject, mode: int, what: str
) -> dict[str, Entry]:
    """All keys, or the `items` that the source picks. Raises VolumeError for a key that is missing."""
    items: list[JsonObject] = source.get("items") or []
    if not items:
        return {key: Entry(value, mode) for key, value in content.items()}
    result: dict[str, Entry] = {}
    for item in items:
        value = content.get(item["key"])
        if value is None:
            if source.get("optional"):
                continue
            raise setting.error(f"references non-existent {what} key: {item['key']}")
        own: Any = item.get("mode")
        result[checked_path(setting, item["path"])] = Entry(value, mode if own is None else int(own))
    return result


async def config_map_payload(setting: Setting, source: JsonObject, mode: int) -> dict[str, Entry]:
    found = await setting.objects.config_map(meta.namespace(setting.pod), str(source.get("name", "")))
    if found is None:
        if source.get("optional"):
            return {}
        raise setting.error(f'configmap "{source.get("name", "")}" not found')
    return picked(setting, _data(setting, found, False), source, mode, "config")


async def secret_payload(setting: Setting, source: JsonObject, mode: int, name: str) -> dict[str, Entry]:
    found = await setting.objects.secret(meta.namespace(setting.pod), name)
    if found is None:
        if source.get("optional"):
            return {}
        raise setting.error(f'secret "{name}" not found')
    return picked(setting, _data(setting, found, True), source, mode, "secret")


def _data(setting: Setting, obj: JsonObject, secret: bool) -> dict[str, bytes]:
    try:
        return data_of(obj, secret)
    except ConfigError as error:
        raise setting.error(str(error)) from None


def downward_payload(setting: Setting, source: JsonObject, mode: int) -> dict[str, Entry]:
    result: dict[str, Entry] = {}
    for item in source.get("items") or []:
        try:
            if item.get("fieldRef"):
                around = setting.around
                text = field_value(setting.pod, item["fieldRef"]["fieldPath"], around.pod_ips, around.host_ips)
            elif item.get("resourceFieldRef"):
                text = resource_value(setting.pod, item["resourceFieldRef"], "", setting.around.allocatable)
            else:
                raise setting.error("downwardAPI item has neither fieldRef nor resourceFieldRef", final=True)
        except FieldError as error:
            raise setting.error(str(error), final=True) from None
        own: Any = item.get("mode")
        result[checked_path(setting, item["path"])] = Entry(text.encode(), mode if own is None else int(own))
    return result


async def token_payload(setting: Setting, source: JsonObject, mode: int) -> dict[str, Entry]:
    """Readable by the pod's user and its fsGroup alone where it names one, by every user where it does not."""
    expiration_s = int(source.get("expirationSeconds") or DEFAULT_TOKEN_EXPIRATION_S)
    token = await setting.tokens.get(setting.pod, str(source.get("audience") or ""), expiration_s)
    user = setting.fs_user
    if setting.fs_group is not None or user is not None:
        mode = 0o600
    return {checked_path(setting, str(source["path"])): Entry(token.encode(), mode, user or 0)}
