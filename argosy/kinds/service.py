"""Service: a stable name and address for a set of pods."""

from __future__ import annotations

from argosy.kinds import columns
from argosy.kinds.kind import AGE_COLUMN, Kind, drop_status, keep_status, status_subresource
from argosy.kinds.service_validation import validate, validate_update
from argosy.objects import meta, names
from argosy.objects.types import JsonObject

AFFINITY_TIMEOUT_S = 10800


def default(obj: JsonObject) -> None:
    """What does not need an allocator; addresses and node ports are the API server's to give."""
    spec = obj.setdefault("spec", {})
    if not isinstance(spec, dict):
        return
    if not spec.get("type"):
        spec["type"] = "ClusterIP"
    if not spec.get("sessionAffinity"):
        spec["sessionAffinity"] = "None"
    if spec["sessionAffinity"] == "None":
        spec.pop("sessionAffinityConfig", None)
    elif spec["sessionAffinity"] == "ClientIP":
        config = spec.setdefault("sessionAffinityConfig", {}).setdefault("clientIP", {})
        if config.get("timeoutSeconds") is None:
            config["timeoutSeconds"] = AFFINITY_TIMEOUT_S
    kind = spec["type"]
    external = kind in ("NodePort", "LoadBalancer") or bool(spec.get("externalIPs"))
    if external and kind != "ExternalName" and not spec.get("externalTrafficPolicy"):
        spec["externalTrafficPolicy"] = "Cluster"
    if kind in ("ClusterIP", "NodePort", "LoadBalancer") and not spec.get("internalTrafficPolicy"):
        spec["internalTrafficPolicy"] = "Cluster"
    if kind == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts") is None:
        spec["allocateLoadBalancerNodePorts"] = True
    for port in spec.get("ports") or ():
        if not port.get("protocol"):
            port["protocol"] = "TCP"
        if port.get("targetPort") in (None, 0, "") and port.get("port") is not None:
            port["targetPort"] = port["port"]
    for ingress in columns.items_at(obj, "status", "loadBalancer", "ingress"):
        if ingress.get("ip") and not ingress.get("ipMode"):
            ingress["ipMode"] = "VIP"


def prepare_create(obj: JsonObject) -> None:
    drop_status(obj)
    obj["status"] = {"loadBalancer": {}}


def _keep_allocations(new: JsonObject, old: JsonObject) -> None:
    """An update that leaves allocated values out keeps them, while the type still needs them."""
    kinds = ("ClusterIP", "NodePort", "LoadBalancer")
    if new.get("type") in kinds and old.get("type") in kinds:
        for field in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"):
            if not new.get(field) and old.get(field):
                new[field] = old[field]
    if new.get("type") in kinds[1:] and old.get("type") in kinds[1:]:
        taken = {(port.get("protocol"), port.get("port")): port.get("nodePort") for port in old.get("ports") or ()}
        used = {port.get("nodePort") for port in new.get("ports") or ()}
        for port in new.get("ports") or ():
            number = taken.get((port.get("protocol"), port.get("port")))
            if not port.get("nodePort") and number and number not in used:
                port["nodePort"] = number
        if not new.get("healthCheckNodePort") and old.get("healthCheckNodePort"):
            local = new.get("externalTrafficPolicy") == "Local" and new.get("type") == "LoadBalancer"
            if local:
                new["healthCheckNodePort"] = old["healthCheckNodePort"]


def prepare_update(new: JsonObject, old: JsonObject) -> None:
    keep_status(new, old)
    if isinstance(new.get("spec"), dict):
        _keep_allocations(new["spec"], old.get("spec") or {})


def _cluster_ip(obj: JsonObject) -> str:
    spec = meta.spec(obj)
    addresses = spec.get("clusterIPs") or ()
    return str(addresses[0] if addresses else spec.get("clusterIP") or columns.NONE)


def _external_ip(obj: JsonObject) -> str:
    spec = meta.spec(obj)
    kind, addresses = spec.get("type"), list(spec.get("externalIPs") or ())
    if kind in ("ClusterIP", "NodePort"):
        return columns.joined(addresses)
    if kind == "ExternalName":
        return str(spec.get("externalName", ""))
    if kind == "LoadBalancer":
        balancers = sorted(
            {
                str(item.get("ip") or item.get("hostname") or "")
                for item in columns.items_at(obj, "status", "loadBalancer", "ingress")
            }
        )
        return columns.joined([*(text for text in balancers if text), *addresses], "<pending>")
    return columns.UNKNOWN


def _ports(obj: JsonObject) -> str:
    shown = []
    for port in meta.spec(obj).get("ports") or ():
        node_port = f":{port['nodePort']}" if port.get("nodePort") else ""
        shown.append(f"{port.get('port')}{node_port}/{port.get('protocol')}")
    return columns.joined(shown)


def _name_complaint(name: str) -> str:
    return next(iter(names.check_label_1035(name)), "")


SERVICE = Kind(
    group="",
    version="v1",
    kind="Service",
    plural="services",
    singular="service",
    namespaced=True,
    short_names=("svc",),
    categories=("all",),
    subresources=(status_subresource("", "v1", "Service"),),
    default=default,
    validate=validate,
    validate_update=validate_update,
    prepare_create=prepare_create,
    prepare_update=prepare_update,
    columns=(
        columns.text("Type", "spec", "type", description="How far the service reaches."),
        columns.computed("Cluster-IP", _cluster_ip, description="Its address inside the cluster."),
        columns.computed("External-IP", _external_ip, description="Its addresses outside."),
        columns.computed("Port(s)", _ports, description="Ports, with node ports after a colon."),
        AGE_COLUMN,
        columns.computed(
            "Selector",
            lambda obj: columns.labels(meta.spec(obj).get("selector")),
            priority=1,
            description="Labels of its pods.",
        ),
    ),
    fields={
        "spec.clusterIP": lambda obj: columns.text_at(obj, "spec", "clusterIP"),
        "spec.type": lambda obj: columns.text_at(obj, "spec", "type"),
    },
    allow_create_on_update=True,
    delete_returns_object=True,
    name_validator=_name_complaint,
)
