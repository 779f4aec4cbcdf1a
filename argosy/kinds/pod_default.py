"""Defaults of pods and of pod templates (pkg/apis/core/v1/defaults.go)."""

from __future__ import annotations

from argosy.kinds import claim_spec, resources
from argosy.objects.types import JsonObject

TERMINATION_GRACE_S = 30
DEFAULT_MODE = 0o644
SCHEDULER = "default-scheduler"
PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
PROBE_DEFAULTS = {"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}


def pull_policy(image: str) -> str:
    """Always for the tag `latest` or none at all, else IfNotPresent; a digest pins the image."""
    if "@" in image:
        return "IfNotPresent"
    tag = image.rpartition("/")[2].partition(":")[2]
    return "Always" if tag in ("", "latest") else "IfNotPresent"


def _fill(obj: JsonObject, defaults: JsonObject) -> None:
    """Set what is absent, null or empty text."""
    for key, value in defaults.items():
        if obj.get(key) in (None, ""):
            obj[key] = value


def _default_http(handler: JsonObject | None) -> None:
    if isinstance(handler, dict) and isinstance(handler.get("httpGet"), dict):
        _fill(handler["httpGet"], {"path": "/", "scheme": "HTTP"})


def _default_probe(probe: JsonObject) -> None:
    for key, value in PROBE_DEFAULTS.items():
        if not probe.get(key):
            probe[key] = value
    _default_http(probe)
    if isinstance(probe.get("grpc"), dict):
        probe["grpc"].setdefault("service", "")


def default_container(container: JsonObject) -> None:
    _fill(
        container,
        {
            "imagePullPolicy": pull_policy(str(container.get("image", ""))),
            "terminationMessagePath": "/dev/termination-log",
            "terminationMessagePolicy": "File",
        },
    )
    container.setdefault("resources", {})
    for port in container.get("ports") or ():
        _fill(port, {"protocol": "TCP"})
    for name in PROBES:
        if isinstance(container.get(name), dict):
            _default_probe(container[name])
    lifecycle = container.get("lifecycle")
    if isinstance(lifecycle, dict):
        _default_http(lifecycle.get("postStart"))
        _default_http(lifecycle.get("preStop"))
    for variable in container.get("env") or ():
        _default_field_ref(variable.get("valueFrom"))
    requirements = container.get("resources")
    if isinstance(requirements, dict):
        resources.canonicalise(requirements.get("limits"))
        resources.canonicalise(requirements.get("requests"))


def _default_field_ref(source: JsonObject | None) -> None:
    if isinstance(source, dict):
        if isinstance(source.get("fieldRef"), dict):
            _fill(source["fieldRef"], {"apiVersion": "v1"})
        reference = source.get("resourceFieldRef")
        if isinstance(reference, dict):
            reference.setdefault("divisor", "0")


def _default_downward(items: object) -> None:
    for item in items if isinstance(items, list) else ():
        _default_field_ref(item)


def default_volume(volume: JsonObject) -> None:
    if not any(isinstance(value, dict) for key, value in volume.items() if key != "name"):
        volume["emptyDir"] = {}
    for source in ("secret", "configMap", "downwardAPI", "projected"):
        if isinstance(volume.get(source), dict):
            _fill(volume[source], {"defaultMode": DEFAULT_MODE})
    if isinstance(volume.get("hostPath"), dict):
        volume["hostPath"].setdefault("type", "")
    if isinstance(volume.get("downwardAPI"), dict):
        _default_downward(volume["downwardAPI"].get("items"))
    if isinstance(volume.get("projected"), dict):
        for source_item in volume["projected"].get("sources") or ():
            if isinstance(source_item.get("serviceAccountToken"), dict):
                _fill(source_item["serviceAccountToken"], {"expirationSeconds": 3600})
            if isinstance(source_item.get("downwardAPI"), dict):
                _default_downward(source_item["downwardAPI"].get("items"))
    if isinstance(volume.get("image"), dict):
        _fill(volume["image"], {"pullPolicy": pull_policy(str(volume["image"].get("reference", "")))})
    if isinstance(volume.get("iscsi"), dict):
        _fill(volume["iscsi"], {"iscsiInterface": "default"})
    if isinstance(volume.get("ephemeral"), dict):
        template = volume["ephemeral"].get("volumeClaimTemplate")
        if isinstance(template, dict) and isinstance(template.get("spec"), dict):
            claim_spec.default_spec(template["spec"])


def default_pod_spec(spec: JsonObject) -> None:
    """What pods and templates share."""
    _fill(
        spec,
        {
            "dnsPolicy": "ClusterFirst",
            "restartPolicy": "Always",
            "terminationGracePeriodSeconds": TERMINATION_GRACE_S,
            "schedulerName": SCHEDULER,
        },
    )
    if spec.get("securityContext") is None:
        spec["securityContext"] = {}
    # The old name of the same field follows the new one.
    if spec.get("serviceAccountName"):
        spec["serviceAccount"] = spec["serviceAccountName"]
    elif spec.get("serviceAccount"):
        spec["serviceAccountName"] = spec["serviceAccount"]
    for volume in spec.get("volumes") or ():
        default_volume(volume)
    for group in ("initContainers", "containers", "ephemeralContainers"):
        for container in spec.get(group) or ():
            default_container(container)
            if spec.get("hostNetwork") and group != "ephemeralContainers":
                for port in container.get("ports") or ():
                    if not port.get("hostPort"):
                        port["hostPort"] = port.get("containerPort")
    resources.canonicalise(spec.get("overhead"))
    for constraint in spec.get("topologySpreadConstraints") or ():
        for policy, value in (("nodeAffinityPolicy", "Honor"), ("nodeTaintsPolicy", "Ignore")):
            if constraint.get(policy) == "":
                constraint[policy] = value


def default_template(holder: JsonObject) -> None:
    """`template`, a PodTemplateSpec, of a workload's spec; made when absent, as Go's value types are."""
    template = holder.get("template")
    if not isinstance(template, dict):
        template = holder["template"] = {}
    template.setdefault("metadata", {})
    if not isinstance(template.get("spec"), dict):
        template["spec"] = {}
    default_pod_spec(template["spec"])


def _requests_from_limits(container: JsonObject) -> None:
    requirements = container.get("resources")
    limits = requirements.get("limits") if isinstance(requirements, dict) else None
    if not isinstance(requirements, dict) or not limits:
        return
    requests = dict(requirements.get("requests") or {})
    for name, amount in limits.items():
        requests.setdefault(name, amount)
    requirements["requests"] = requests


def default(pod: JsonObject) -> None:
    spec = pod.get("spec")
    if not isinstance(spec, dict):
        spec = pod["spec"] = {}
    if spec.get("enableServiceLinks") is None:
        spec["enableServiceLinks"] = True
    default_pod_spec(spec)
    for group in ("initContainers", "containers"):
        for container in spec.get(group) or ():
            _requests_from_limits(container)
