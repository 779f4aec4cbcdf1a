"""The file of `--encryption-provider-config`: which resources are sealed, and by what (apiserver.config.k8s.io/v1).

Rules and messages: k8s.io/apiserver `pkg/apis/apiserver/validation/validation_encryption.go`.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Any, Final

from argosy.objects import durations
from argosy.objects.status import FieldError, invalid_value, required

PROVIDERS: Final = ("kms", "aesgcm", "aescbc", "secretbox", "identity")
KEY_BYTES: Final = (16, 24, 32)
NOT_REST: Final = ("apiserveripinfo", "serviceipallocations", "servicenodeportallocations")
OVERLAP: Final = (
    "using overlapping resources such as 'secrets' and '*.' in the same resource list is not allowed as they will be "
    "masked"
)
KMS_TIMEOUT_S: Final = 3.0


@dataclass(frozen=True)
class KmsSettings:
    name: str
    path: str
    """Of the plug-in's socket."""
    timeout_s: float


@dataclass(frozen=True)
class ProviderSettings:
    kind: str
    keys: tuple[tuple[str, bytes], ...] = ()
    kms: KmsSettings | None = None


@dataclass(frozen=True)
class Rule:
    resources: tuple[str, ...]
    """`secrets`, `deployments.apps`, `*.apps`, `*.` (the core group), `*.*`."""
    providers: tuple[ProviderSettings, ...]
    """The first seals, all open."""

    def covers(self, group: str, resource: str) -> bool:
        return any(name in self.resources for name in (_join(resource, group), f"*.{group}", "*.*"))


def _join(resource: str, group: str) -> str:
    return f"{resource}.{group}" if group else resource


def parse(text: str) -> tuple[Rule, ...]:
    """Raises ValueError with every complaint."""
    import yaml

    try:
        loaded: Any = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506  # it is safe
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 1})" if mark is not None else ""
        raise ValueError(f"the encryption provider configuration is no YAML{where}") from None
    if not isinstance(loaded, dict):
        raise ValueError("the encryption provider configuration is empty")
    kind = (loaded.get("apiVersion"), loaded.get("kind"))
    if kind != ("apiserver.config.k8s.io/v1", "EncryptionConfiguration"):
        raise ValueError(f"got unexpected config type: {kind[0]}, Kind={kind[1]}")
    errors = _unknown(loaded, ("apiVersion", "kind", "resources"), "")
    listed = loaded.get("resources")
    if not isinstance(listed, list) or not listed:
        errors.append(required("resources", "at least one resources is required"))
        listed = []
    names: set[str] = set()
    rules = [_rule(item, f"resources[{index}]", errors, names) for index, item in enumerate(listed)]
    errors += _masked(rules)
    if errors:
        shown = [str(error) for error in errors]
        raise ValueError(shown[0] if len(shown) == 1 else "[" + ", ".join(shown) + "]")
    return tuple(rules)


def _unknown(item: dict[str, Any], known: tuple[str, ...], path: str) -> list[FieldError]:
    prefix = f"{path}." if path else ""
    return [invalid_value(f"{prefix}{key}", key, "unknown field") for key in item if key not in known]


def _rule(item: Any, path: str, errors: list[FieldError], names: set[str]) -> Rule:
    if not isinstance(item, dict):
        errors.append(invalid_value(path, str(item), "must be an object"))
        return Rule((), ())
    errors += _unknown(item, ("resources", "providers"), path)
    resources = [str(name) for name in item.get("resources") or ()]
    if not resources:
        errors.append(required(f"{path}.resources", f"at least one {path}.resources is required"))
    errors += _check_resources(resources, f"{path}.resources")
    providers = item.get("providers")
    if not isinstance(providers, list) or not providers:
        errors.append(required(f"{path}.providers", f"at least one {path}.providers is required"))
        providers = []
    made = [_provider(each, f"{path}.providers[{index}]", errors, names) for index, each in enumerate(providers)]
    return Rule(tuple(resources), tuple(each for each in made if each is not None))


def _check_resources(resources: list[str], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    if len(set(resources)) < len(resources):
        errors.append(invalid_value(path, resources, "the same resource cannot be specified multiple times"))
    groups = [name.partition(".")[2] for name in set(resources) if name != "*.*"]
    wild = [name.partition(".")[2] for name in set(resources) if name.startswith("*.") and name != "*.*"]
    if ("*.*" in resources and len(set(resources)) > 1) or any(groups.count(group) > 1 for group in wild):
        errors.append(invalid_value(path, resources, OVERLAP))
    for index, name in enumerate(resources):
        where, (resource, _, group) = f"{path}[{index}]", name.partition(".")
        if name != name.lower():
            errors.append(invalid_value(where, name, "resource name should not contain capital letters"))
        elif name == "*":
            text = "use '*.' to encrypt all the resources from core API group or *.* to encrypt all resources"
            errors.append(invalid_value(where, name, text))
        elif name in NOT_REST:
            text = "resources which do not have REST API/s cannot be encrypted"
            errors.append(invalid_value(where, name, text))
        elif group == "events.k8s.io":
            text = "'*.events.k8s.io' objects are stored using the 'events' API group in etcd. Use 'events' instead "
            errors.append(invalid_value(where, name, text + "in the config file"))
        elif group == "extensions":
            text = "'extensions' group has been removed and cannot be used for encryption"
            errors.append(invalid_value(where, name, text))
        elif group == "*" and resource != "*":
            text = "encrypting the same resource across groups is not supported"
            errors.append(invalid_value(where, name, text))
    return errors


def _masked(rules: list[Rule]) -> list[FieldError]:
    """What an earlier rule covers already would never be asked."""
    errors: list[FieldError] = []
    for index, rule in enumerate(rules):
        for name in rule.resources:
            group = name.partition(".")[2]
            for earlier in rules[:index]:
                mask = next((each for each in (f"*.{group}", "*.*") if each in earlier.resources), "")
                if mask and mask != name:
                    text = f'resource "{name}" is masked by earlier rule "{mask}"'
                    errors.append(invalid_value(f"resources[{index}].resources", name, text))
                elif name in earlier.resources:
                    text = f'resource "{name}" is masked by earlier rule "{name}"'
                    errors.append(invalid_value(f"resources[{index}].resources", name, text))
    return errors


def _provider(item: Any, path: str, errors: list[FieldError], names: set[str]) -> ProviderSettings | None:
    found = [key for key in item if key in PROVIDERS] if isinstance(item, dict) else []
    if len(found) != 1 or len(item) != 1:
        text = "more than one provider specified in a single element, should split into different list elements"
        if not found:
            text = "provider does not contain any of the expected providers: KMS, AESGCM, AESCBC, Secretbox, Identity"
        errors.append(invalid_value(path, sorted(item) if isinstance(item, dict) else "", text))
        return None
    kind = found[0]
    settings = item[kind] if isinstance(item[kind], dict) else {}
    where = f"{path}.{kind}"
    if kind == "identity":
        return ProviderSettings(kind)
    if kind == "secretbox":
        text = "the secretbox provider is not supported; use aesgcm or kms"
        errors.append(invalid_value(where, "secretbox", text))
        return None
    if kind == "kms":
        return _kms(settings, where, errors, names)
    return ProviderSettings(kind, _keys(settings.get("keys"), f"{where}.keys", errors))


def _keys(listed: Any, path: str, errors: list[FieldError]) -> tuple[tuple[str, bytes], ...]:
    if not isinstance(listed, list) or not listed:
        errors.append(required(path, "at least one keys is required"))
        return ()
    keys: list[tuple[str, bytes]] = []
    for index, item in enumerate(listed):
        where, given = f"{path}[{index}]", item if isinstance(item, dict) else {}
        name, secret = str(given.get("name") or ""), str(given.get("secret") or "")
        if not name:
            errors.append(required(f"{where}.name", "name is a mandatory field for a key"))
        if not secret:
            errors.append(required(f"{where}.secret", "secret is a mandatory field for a key"))
            continue
        try:
            key = base64.b64decode(secret, validate=True)
        except (binascii.Error, ValueError):
            errors.append(invalid_value(f"{where}.secret", "REDACTED", "secrets must be base64 encoded"))
            continue
        if len(key) not in KEY_BYTES:
            text = f"secret is not of the expected length, got {len(key)}, expected one of [16 24 32]"
            errors.append(invalid_value(f"{where}.secret", "REDACTED", text))
        keys.append((name, key))
    return tuple(keys)


def _kms(given: dict[str, Any], path: str, errors: list[FieldError], names: set[str]) -> ProviderSettings:
    errors += _unknown(given, ("apiVersion", "name", "endpoint", "timeout", "cachesize"), path)
    name, endpoint = str(given.get("name") or ""), str(given.get("endpoint") or "")
    if not name:
        errors.append(required(f"{path}.name", "name is a mandatory field for a provider"))
    elif ":" in name:
        text = f"invalid KMS provider name {name}, must not contain ':'"
        errors.append(invalid_value(f"{path}.name", name, text))
    elif name in names:
        text = f"duplicate KMS provider name {name}, names must be unique"
        errors.append(invalid_value(f"{path}.name", name, text))
    names.add(name)
    if given.get("apiVersion") != "v2":
        text = "only KMS v2 is supported: set apiVersion to v2"
        errors.append(invalid_value(f"{path}.apiVersion", given.get("apiVersion") or "v1", text))
    if given.get("cachesize") is not None:
        errors.append(invalid_value(f"{path}.cachesize", given["cachesize"], "cachesize is not supported in v2"))
    timeout_s: float | None = KMS_TIMEOUT_S
    if given.get("timeout") is not None:
        timeout_s = _seconds(str(given["timeout"]))
        if not timeout_s or timeout_s <= 0:
            errors.append(invalid_value(f"{path}.timeout", given["timeout"], "timeout should be a positive value"))
    scheme, _, socket = endpoint.partition("://")
    if not endpoint:
        errors.append(invalid_value(f"{path}.endpoint", "", "endpoint is a mandatory field for a kms"))
    elif scheme != "unix" or not socket.startswith("/") or socket.startswith("/@"):
        text = f'unsupported scheme "{scheme}" for KMS provider, only unix is supported'
        if scheme == "unix":
            text = "only a path, as in unix:///run/kms.sock, is supported"
        errors.append(invalid_value(f"{path}.endpoint", endpoint, text))
    return ProviderSettings("kms", kms=KmsSettings(name, socket, timeout_s or KMS_TIMEOUT_S))


def _seconds(text: str) -> float | None:
    try:
        return durations.parse_go(text)
    except ValueError:
        return None
