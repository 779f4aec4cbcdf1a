"""ResourceQuota's arithmetic: what an object uses, which quotas count it, and what is too much. Pure.

The API server charges new objects by it, the controller manager counts what is there. Rules: k8s.io/kubernetes
`pkg/quota/v1/evaluator/core` and k8s.io/apiserver `pkg/quota/v1`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from argosy.host import parse_rfc3339
from argosy.objects import meta, quantity
from argosy.objects.pod_peak import pod_peak
from argosy.objects.pod_qos import BEST_EFFORT, qos_class
from argosy.objects.quantity import NANO, Quantity
from argosy.objects.types import JsonObject
from argosy.scheduling.resources import is_infeasible

Usage = dict[str, Quantity]
"""By the names that quotas have for it: `pods`, `requests.cpu`, `count/deployments.apps`…"""

ZERO: Final = Quantity(0)
ONE: Final = Quantity(NANO)
COUNTED_BY_NAME: Final = ("configmaps", "replicationcontrollers", "resourcequotas", "secrets")
"""Core resources that have a name of their own besides `count/…`; the others are more than counted."""
MUST_BE_SAID: Final = ("cpu", "limits.cpu", "limits.memory", "memory", "requests.cpu", "requests.memory")
"""Where a quota names these, every container must say how much."""
STORAGE_CLASS: Final = ".storageclass.storage.k8s.io/"
CLASS_ANNOTATION: Final = "volume.beta.kubernetes.io/storage-class"
_PLAIN: Final = ("cpu", "memory", "ephemeral-storage")
_HUGE_PAGES: Final = "hugepages-"


def count_name(group: str, plural: str) -> str:
    """`count/RESOURCE.GROUP`."""
    return f"count/{plural}.{group}" if group else f"count/{plural}"


def usage_of(group: str, plural: str, obj: JsonObject, now_s: float) -> Usage:
    """All that one object counts for, whatever quotas there are."""
    usage: Usage = {count_name(group, plural): ONE}
    if group:
        return usage
    if plural == "pods":
        return usage | (_pod(obj) if counts(obj, now_s) else {})
    if plural == "services":
        return usage | _service(obj)
    if plural == "persistentvolumeclaims":
        return usage | _claim(obj)
    if plural in COUNTED_BY_NAME:
        usage[plural] = ONE
    return usage


def counts(pod: JsonObject, now_s: float) -> bool:
    """Not a pod that has finished, nor one whose time to go has passed (its node may be gone)."""
    if meta.status(pod).get("phase") in ("Succeeded", "Failed"):
        return False
    metadata = meta.metadata(pod)
    deleted, grace_s = metadata.get("deletionTimestamp"), metadata.get("deletionGracePeriodSeconds")
    if not deleted or grace_s is None:
        return True
    try:
        return parse_rfc3339(str(deleted)) >= now_s
    except ValueError:
        return True


def is_tracked(name: str, group: str, plural: str) -> bool:
    """Whether a name in a quota is about a resource."""
    if name == count_name(group, plural):
        return True
    if group:
        return False
    if plural == "pods":
        return name == "pods" or name in _PLAIN or _is_request(name)
    if plural == "services":
        return name in ("services", "services.nodeports", "services.loadbalancers")
    if plural == "persistentvolumeclaims":
        return name in ("persistentvolumeclaims", "requests.storage") or STORAGE_CLASS in name
    return plural in COUNTED_BY_NAME and name == plural


def _is_request(name: str) -> bool:
    side, dot, rest = name.partition(".")
    if name.startswith(_HUGE_PAGES):
        return True
    if not dot or side not in ("requests", "limits") or STORAGE_CLASS in name:
        return False
    extended = side == "requests" and ("/" in rest or rest.startswith(_HUGE_PAGES))
    return rest in _PLAIN or extended


# Pods


def pod_total(pod: JsonObject, side: str) -> Usage:
    """The `requests` or `limits` of a pod at its peak."""
    return pod_peak(pod, side, _amounts)


def _amounts(listed: Mapping[str, object]) -> Usage:
    return {name: _parsed(text) for name, text in listed.items()}


def _parsed(text: object) -> Quantity:
    try:
        return quantity.parse(text)
    except quantity.QuantityError:
        return ZERO


def _pod(pod: JsonObject) -> Usage:
    counted = _with_granted(pod)
    return {"pods": ONE, **_named(pod_total(counted, "requests"), pod_total(counted, "limits"))}


def _with_granted(pod: JsonObject) -> JsonObject:
    """While a pod is resized it counts for the most of what it asks for, was granted and has (KEP-1287)."""
    spec, status, infeasible = meta.spec(pod), meta.status(pod), is_infeasible(pod)
    changed: JsonObject = {}
    for group, field in (("containers", "containerStatuses"), ("initContainers", "initContainerStatuses")):
        known = {item["name"]: item for item in status.get(field) or () if item.get("resources") is not None}
        containers = spec.get(group) or []
        if known and containers:
            changed[group] = [_most(item, known.get(item["name"]), infeasible) for item in containers]
    return {**pod, "spec": {**spec, **changed}} if changed else pod


def _most(container: JsonObject, status: JsonObject | None, infeasible: bool) -> JsonObject:
    if status is None:
        return container
    asked: JsonObject = container.get("resources") or {}
    result: JsonObject = {}
    for side, further in (("requests", status.get("allocatedResources")), ("limits", None)):
        total: dict[str, object] = {} if infeasible else dict(asked.get(side) or {})
        for listed in ((status["resources"] or {}).get(side), further):
            for name, text in (listed or {}).items():
                if name not in total or _parsed(total[name]) < _parsed(text):
                    total[name] = text
        result[side] = total
    return {**container, "resources": {**asked, **result}}


def _named(requests: Usage, limits: Usage) -> Usage:
    """Amounts under the names that quotas have for them."""
    usage: Usage = {}
    for name, value in requests.items():
        if name in _PLAIN or name.startswith(_HUGE_PAGES):
            usage[name] = value
        if name in _PLAIN or name.startswith(_HUGE_PAGES) or "/" in name:
            usage[f"requests.{name}"] = value
    usage.update({f"limits.{name}": value for name, value in limits.items() if name in _PLAIN})
    return usage


def unsaid(pod: JsonObject, names: Iterable[str]) -> str:
    """`must specify …` when containers leave open what a quota counts; else empty."""
    wanted = sorted(set(names) & set(MUST_BE_SAID))
    spec = meta.spec(pod)
    missing: dict[str, list[str]] = {}
    for container in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ())):
        sides = container.get("resources") or {}
        said = _named(_amounts(sides.get("requests") or {}), _amounts(sides.get("limits") or {}))
        for name in wanted:
            if name not in said:
                missing.setdefault(name, []).append(str(container.get("name")))
    if not missing:
        return ""
    return "must specify " + "; ".join(
        f"{name} for: {','.join(sorted(set(found)))}" for name, found in missing.items()
    )


# Services and claims


def _service(service: JsonObject) -> Usage:
    spec = meta.spec(service)
    usage: Usage = {"services": ONE, "services.nodeports": ZERO, "services.loadbalancers": ZERO}
    ports = spec.get("ports") or []
    number = 0
    if spec.get("type") == "NodePort":
        number = len(ports)
    elif spec.get("type") == "LoadBalancer":
        usage["services.loadbalancers"] = ONE
        without = spec.get("allocateLoadBalancerNodePorts") is False
        number = sum(1 for port in ports if port.get("nodePort")) if without else len(ports)
    usage["services.nodeports"] = Quantity(number * NANO)
    return usage


def _claim(claim: JsonObject) -> Usage:
    spec = meta.spec(claim)
    asked = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    size = ZERO if asked is None else _parsed(asked)
    usage: Usage = {"persistentvolumeclaims": ONE, "requests.storage": size}
    storage_class = meta.annotations(claim).get(CLASS_ANNOTATION) or spec.get("storageClassName")
    if storage_class:
        usage[f"{storage_class}{STORAGE_CLASS}persistentvolumeclaims"] = ONE
        usage[f"{storage_class}{STORAGE_CLASS}requests.storage"] = size
    return usage


# Quotas


def covers(quota: JsonObject, group: str, plural: str, obj: JsonObject) -> bool:
    """Whether an object is within a quota's scopes; only pods can be in any."""
    spec = meta.spec(quota)
    wanted = [{"scopeName": scope, "operator": "Exists"} for scope in spec.get("scopes") or ()]
    wanted += (spec.get("scopeSelector") or {}).get("matchExpressions") or ()
    if not wanted:
        return True
    return not group and plural == "pods" and all(_in_scope(each, obj) for each in wanted)


def _in_scope(wanted: JsonObject, pod: JsonObject) -> bool:
    scope, spec = wanted.get("scopeName"), meta.spec(pod)
    if scope == "Terminating":
        return spec.get("activeDeadlineSeconds") is not None
    if scope == "NotTerminating":
        return spec.get("activeDeadlineSeconds") is None
    if scope == "BestEffort":
        return qos_class(pod) == BEST_EFFORT
    if scope == "NotBestEffort":
        return qos_class(pod) != BEST_EFFORT
    if scope == "CrossNamespacePodAffinity":
        return _reaches_other_namespaces(spec)
    if scope != "PriorityClass":
        return False
    name, values = spec.get("priorityClassName") or "", wanted.get("values") or ()
    operator = wanted.get("operator")
    if operator == "Exists":
        return bool(name)
    if operator == "DoesNotExist":
        return not name
    if operator == "In":
        return bool(name) and name in values
    return name not in values


def _reaches_other_namespaces(spec: JsonObject) -> bool:
    affinity = spec.get("affinity") or {}
    for kind in ("podAffinity", "podAntiAffinity"):
        rules = affinity.get(kind) or {}
        terms = list(rules.get("requiredDuringSchedulingIgnoredDuringExecution") or ())
        weighted = rules.get("preferredDuringSchedulingIgnoredDuringExecution") or ()
        terms += [each.get("podAffinityTerm") or {} for each in weighted]
        if any(term.get("namespaces") or term.get("namespaceSelector") is not None for term in terms):
            return True
    return False


def hard_of(quota: JsonObject) -> Usage:
    """What the quota's status allows: a new quota holds nobody back until it was counted."""
    return _amounts(meta.status(quota).get("hard") or {})


def used_of(quota: JsonObject) -> Usage:
    return _amounts(meta.status(quota).get("used") or {})


def lowers(quota: JsonObject, used: Mapping[str, str]) -> bool:
    """Whether a new count is less than what the quota's status says."""
    before = used_of(quota)
    return any(name in before and _parsed(text) < before[name] for name, text in used.items())


def charge(quota: JsonObject, delta: Usage) -> tuple[Usage, dict[str, tuple[Quantity, Quantity, Quantity]]]:
    """(what is used then, what is too much: name to requested, used, allowed)."""
    hard, used = hard_of(quota), used_of(quota)
    exceeded: dict[str, tuple[Quantity, Quantity, Quantity]] = {}
    new = dict(used)
    for name, amount in delta.items():
        if name not in hard or amount.nano <= 0:
            continue
        before = used.get(name, ZERO)
        new[name] = before + amount
        if hard[name] < new[name]:
            exceeded[name] = (amount, before, hard[name])
    return new, exceeded


def shown(amounts: Mapping[str, Quantity]) -> str:
    """`cpu=1,memory=2Gi`, as messages have it."""
    return ",".join(f"{name}={amounts[name]}" for name in sorted(amounts))


def total(usages: Iterable[Usage], names: Iterable[str]) -> dict[str, str]:
    """`status.used` for the named resources from what each object uses."""
    result = dict.fromkeys(names, ZERO)
    for usage in usages:
        for name in result:
            if name in usage:
                result[name] = result[name] + usage[name]
    return {name: str(value) for name, value in result.items()}
