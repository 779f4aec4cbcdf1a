"""Which pods stand behind which Services, and what of them an endpoint tells; pure but for the caches' indexes.

Shared by the EndpointSlice and the Endpoints controller. Rules: upstream `staging/src/k8s.io/endpointslice/utils.go`,
`pkg/controller/util/endpoint/`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from argosy.informer import Informer
from argosy.objects import meta
from argosy.objects.types import JsonObject
from control_plane.controllers import pods as podlib
from control_plane.controllers.base import LABEL_INDEX

SELECTOR_INDEX = "selector"


class Port(NamedTuple):
    """A service's port as one pod serves it."""

    name: str
    port: int
    protocol: str
    app_protocol: str = ""

    def as_json(self) -> JsonObject:
        result: JsonObject = {"name": self.name, "port": self.port, "protocol": self.protocol}
        if self.app_protocol:
            result["appProtocol"] = self.app_protocol
        return result


def selector_pairs(service: JsonObject) -> list[str]:
    """`namespace/key=value` of each label that the Service asks for; empty when it selects no pods."""
    spec = meta.spec(service)
    if spec.get("type") == "ExternalName":
        return []
    space = meta.namespace(service)
    return [f"{space}/{key}={value}" for key, value in sorted((spec.get("selector") or {}).items())]


def by_selector(service: JsonObject) -> Iterable[str]:
    """One pair is enough to find the Services that may select a pod."""
    return selector_pairs(service)[:1]


def selects(service: JsonObject, pod: JsonObject) -> bool:
    labels = meta.labels(pod)
    wanted = meta.spec(service).get("selector") or {}
    return bool(wanted) and all(labels.get(key) == value for key, value in wanted.items())


def services_of(pod: JsonObject, services: Informer) -> list[JsonObject]:
    """Needs `by_selector` as SELECTOR_INDEX of the services."""
    space = meta.namespace(pod)
    return [
        service
        for key, value in meta.labels(pod).items()
        for service in services.by_index(SELECTOR_INDEX, f"{space}/{key}={value}")
        if selects(service, pod)
    ]


def pods_of(service: JsonObject, pods: Informer) -> list[JsonObject]:
    """By name. Needs `by_labels` as LABEL_INDEX of the pods; looks at the fewest of them."""
    pairs = selector_pairs(service)
    if not pairs:
        return []
    fewest = min((pods.by_index(LABEL_INDEX, pair) for pair in pairs), key=len)
    return sorted((pod for pod in fewest if selects(service, pod)), key=meta.name)


def addresses(pod: JsonObject) -> list[str]:
    status = meta.status(pod)
    found = [str(item.get("ip", "")) for item in status.get("podIPs") or ()] or [str(status.get("podIP", ""))]
    return [address for address in found if address]


def address(pod: JsonObject, family: str) -> str:
    """The pod's address of family IPv4 or IPv6; empty when it has none."""
    six = family == "IPv6"
    return next((each for each in addresses(pod) if (":" in each) == six), "")


def belongs(pod: JsonObject, *, include_terminating: bool) -> bool:
    """Whether the pod is to be shown at all."""
    if podlib.is_terminal(pod) or not addresses(pod):
        return False
    return include_terminating or not meta.is_deleting(pod)


def hostname(service: JsonObject, pod: JsonObject) -> str:
    """The pod's own DNS name under a headless Service that is its subdomain."""
    spec = meta.spec(pod)
    return str(spec.get("hostname") or "") if spec.get("subdomain") == meta.name(service) else ""


def ports(service: JsonObject, pod: JsonObject) -> tuple[Port, ...]:
    """The service's ports as the pod serves them; one whose target the pod does not name is left out."""
    result: list[Port] = []
    for item in meta.spec(service).get("ports") or ():
        protocol = str(item.get("protocol", "TCP"))
        number = _target(item, protocol, pod)
        if number is not None:
            result.append(Port(str(item.get("name", "")), number, protocol, str(item.get("appProtocol", ""))))
    return tuple(result)


def _target(item: JsonObject, protocol: str, pod: JsonObject) -> int | None:
    target = item.get("targetPort") or item.get("port")
    if isinstance(target, int):
        return target
    if isinstance(target, str) and target.isdigit():
        return int(target)
    spec = meta.spec(pod)
    sidecars = [each for each in spec.get("initContainers") or () if each.get("restartPolicy") == "Always"]
    for container in [*(spec.get("containers") or ()), *sidecars]:
        for port in container.get("ports") or ():
            if port.get("name") == target and port.get("protocol", "TCP") == protocol:
                return int(port["containerPort"])
    return None


def target_reference(pod: JsonObject) -> JsonObject:
    return {"kind": "Pod", "namespace": meta.namespace(pod), "name": meta.name(pod), "uid": meta.uid(pod)}


def facts(pod: JsonObject) -> tuple[object, ...]:
    """All of a pod that endpoints depend on, labels aside: nothing else makes work."""
    spec = meta.spec(pod)
    return (
        addresses(pod),
        podlib.is_ready(pod),
        podlib.is_terminal(pod),
        meta.is_deleting(pod),
        spec.get("nodeName"),
        spec.get("hostname"),
        spec.get("subdomain"),
        meta.uid(pod),
    )


def is_headless(service: JsonObject) -> bool:
    return meta.spec(service).get("clusterIP") == "None"


def families(service: JsonObject) -> list[str]:
    """The address families that the Service is served in."""
    spec = meta.spec(service)
    found = [str(family) for family in spec.get("ipFamilies") or ()]
    if found:
        return found
    cluster_ip = str(spec.get("clusterIP") or "")
    return ["IPv6"] if ":" in cluster_ip else ["IPv4"]
