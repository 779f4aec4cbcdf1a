"""Rules for pods and pod templates (pkg/apis/core/validation, ValidatePodSpec)."""

from __future__ import annotations

from collections.abc import Mapping

from argosy.kinds import resources
from argosy.kinds.affinity_validation import validate_affinity, validate_key, validate_spread, validate_tolerations
from argosy.kinds.container_validation import validate_container, validate_ids, validate_seccomp
from argosy.kinds.label_rules import validate_annotations, validate_labels
from argosy.kinds.pod_resize import validate_policies
from argosy.kinds.probe_validation import PROBES, validate_probes
from argosy.kinds.volume_validation import validate_volumes
from argosy.objects import meta, names, storage
from argosy.objects.status import (
    FieldError,
    duplicate,
    field_not_found,
    forbidden_field,
    invalid_value,
    not_supported,
    required,
)
from argosy.objects.types import JsonObject

RESTART_POLICIES = ("Always", "OnFailure", "Never")
DNS_POLICIES = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
MAX_INT32 = (1 << 31) - 1
MAX_NAMESERVERS = 3
MAX_SEARCHES = 32
MAX_SEARCH_CHARS = 2048
NO_SIDECAR = "may not be set for init containers without restartPolicy=Always"
NOT_IN_EPHEMERAL = (
    "ports",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "lifecycle",
    "resources",
    "resizePolicy",
)


def _host_ports(containers: list[JsonObject], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    seen: set[str] = set()
    for index, container in enumerate(containers):
        for place, port in enumerate(container.get("ports") or ()):
            if port.get("hostPort"):
                key = f"{port.get('protocol')}/{port.get('hostIP', '')}/{port['hostPort']}"
                if key in seen:
                    errors.append(duplicate(f"{path}[{index}].ports[{place}].hostPort", key))
                seen.add(key)
    return errors


def _validate_main(spec: JsonObject, volumes: Mapping[str, JsonObject], path: str) -> list[FieldError]:
    containers, grace_s = spec.get("containers") or [], spec.get("terminationGracePeriodSeconds")
    if not containers:
        return [required(path)]
    errors: list[FieldError] = []
    seen: set[str] = set()
    for index, container in enumerate(containers):
        where, name = f"{path}[{index}]", container.get("name", "")
        errors += validate_container(container, volumes, where)
        if name in seen:
            errors.append(duplicate(f"{where}.name", name))
        seen.add(name)
        errors += validate_probes(container, grace_s, where)
        if container.get("restartPolicy") is not None:
            errors.append(forbidden_field(f"{where}.restartPolicy", "may not be set for non-init containers"))
        errors += _validate_resizing(container, spec, where)
    return errors + _host_ports(containers, path)


def _validate_resizing(container: JsonObject, spec: JsonObject, path: str) -> list[FieldError]:
    policies, restart = container.get("resizePolicy") or [], str(spec.get("restartPolicy") or "")
    return validate_policies(policies, restart, f"{path}.resizePolicy")


def _validate_init(spec: JsonObject, volumes: Mapping[str, JsonObject], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    seen = {container.get("name", "") for container in spec.get("containers") or ()}
    for index, container in enumerate(spec.get("initContainers") or ()):
        where, name = f"{path}[{index}]", container.get("name", "")
        errors += validate_container(container, volumes, where)
        policy = container.get("restartPolicy")
        if policy not in (None, "Always"):
            errors.append(not_supported(f"{where}.restartPolicy", policy, ["Always"]))
        if name in seen:
            errors.append(duplicate(f"{where}.name", name))
        elif name:
            seen.add(name)
        errors += _host_ports([container], path)
        if policy == "Always":
            errors += validate_probes(container, spec.get("terminationGracePeriodSeconds"), where)
            errors += _validate_resizing(container, spec, where)
        else:
            if container.get("resizePolicy"):
                detail = "must not be set for init containers"
                errors.append(invalid_value(f"{where}.resizePolicy", container["resizePolicy"], detail))
            errors += [
                forbidden_field(f"{where}.{field}", NO_SIDECAR)
                for field in ("lifecycle", *PROBES)
                if container.get(field) is not None
            ]
    return errors


def _validate_ephemeral(spec: JsonObject, volumes: Mapping[str, JsonObject], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    others = {
        container.get("name", "") for group in ("containers", "initContainers") for container in spec.get(group) or ()
    }
    seen = set(others)
    detail = "cannot be set for an Ephemeral Container"
    for index, container in enumerate(spec.get("ephemeralContainers") or ()):
        where, name = f"{path}[{index}]", container.get("name", "")
        errors += validate_container(container, volumes, where) + _validate_image_spaces(container, where)
        if name in seen:
            errors.append(duplicate(f"{where}.name", name))
        seen.add(name)
        target = container.get("targetContainerName")
        if target and target not in others:
            errors.append(field_not_found(f"{where}.targetContainerName", target))
        errors += [forbidden_field(f"{where}.{field}", detail) for field in NOT_IN_EPHEMERAL if container.get(field)]
        for place, mount in enumerate(container.get("volumeMounts") or ()):
            for field in ("subPath", "subPathExpr"):
                if mount.get(field):
                    errors.append(forbidden_field(f"{where}.volumeMounts[{place}].{field}", detail))
    return errors


def _validate_host_network(spec: JsonObject, path: str, is_pod: bool) -> list[FieldError]:
    if not spec.get("hostNetwork"):
        return []
    errors: list[FieldError] = []
    for index, container in enumerate(spec.get("containers") or ()):
        for place, port in enumerate(container.get("ports") or ()):
            host, own = port.get("hostPort", 0), port.get("containerPort", 0)
            if (is_pod or host) and host != own:
                where = f"{path}.containers[{index}].ports[{place}].hostPort"
                errors.append(invalid_value(where, host, "must match `containerPort` when `hostNetwork` is true"))
    return errors


def _validate_dns(spec: JsonObject, path: str) -> list[FieldError]:
    policy, config = spec.get("dnsPolicy", ""), spec.get("dnsConfig")
    errors: list[FieldError] = []
    if not policy:
        errors.append(required(f"{path}.dnsPolicy"))
    elif policy not in DNS_POLICIES:
        errors.append(not_supported(f"{path}.dnsPolicy", policy, DNS_POLICIES))
    where = f"{path}.dnsConfig"
    if policy == "None":
        if config is None:
            return [*errors, required(where, "must provide `dnsConfig` when `dnsPolicy` is None")]
        if not config.get("nameservers"):
            detail = "must provide at least one DNS nameserver when `dnsPolicy` is None"
            return [*errors, required(f"{where}.nameservers", detail)]
    if config is None:
        return errors
    servers, searches = config.get("nameservers") or [], config.get("searches") or []
    if len(servers) > MAX_NAMESERVERS:
        detail = f"must not have more than {MAX_NAMESERVERS} nameservers"
        errors.append(invalid_value(f"{where}.nameservers", servers, detail))
    for index, server in enumerate(servers):
        errors += [invalid_value(f"{where}.nameservers[{index}]", server, text) for text in names.check_ip(server)]
    if len(searches) > MAX_SEARCHES:
        detail = f"must not have more than {MAX_SEARCHES} search paths"
        errors.append(invalid_value(f"{where}.searches", searches, detail))
    if len(" ".join(searches)) > MAX_SEARCH_CHARS:
        detail = f"must not have more than {MAX_SEARCH_CHARS} characters (including spaces) in the search list"
        errors.append(invalid_value(f"{where}.searches", searches, detail))
    for index, search in enumerate(searches):
        plain = search.removesuffix(".").replace("_", "-")
        if search != ".":
            errors += [
                invalid_value(f"{where}.searches[{index}]", search, text) for text in names.check_subdomain(plain)
            ]
    for index, option in enumerate(config.get("options") or ()):
        if not option.get("name"):
            errors.append(required(f"{where}.options[{index}]", "must not be empty"))
    return errors


def _validate_security(context: JsonObject | None, spec: JsonObject, path: str) -> list[FieldError]:
    where = f"{path}.securityContext"
    if context is None:
        return []
    errors = validate_ids(context, ("fsGroup", "runAsUser", "runAsGroup"), where)
    for index, group in enumerate(context.get("supplementalGroups") or ()):
        errors += [
            FieldError(error.cause, f"{where}.supplementalGroups[{index}]", error.message)
            for error in validate_ids({"group": group}, ("group",), "")
        ]
    if spec.get("shareProcessNamespace") and spec.get("hostPID"):
        detail = "ShareProcessNamespace and HostPID cannot both be enabled"
        errors.append(invalid_value(f"{where}.shareProcessNamespace", True, detail))
    policy = context.get("fsGroupChangePolicy")
    if policy is not None and policy not in ("Always", "OnRootMismatch"):
        errors.append(not_supported(f"{where}.fsGroupChangePolicy", policy, ["Always", "OnRootMismatch"]))
    return errors + validate_seccomp(context.get("seccompProfile"), f"{where}.seccompProfile")


def _validate_gates(spec: JsonObject, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    for index, gate in enumerate(spec.get("readinessGates") or ()):
        errors += validate_key(gate.get("conditionType", ""), f"{path}.readinessGates[{index}].conditionType")
    seen: set[str] = set()
    for index, gate in enumerate(spec.get("schedulingGates") or ()):
        where, name = f"{path}.schedulingGates[{index}]", gate.get("name", "")
        errors += validate_key(name, where)
        if name in seen:
            errors.append(duplicate(where, name))
        seen.add(name)
    return errors


def _validate_names(spec: JsonObject, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    for field in ("serviceAccountName", "nodeName", "priorityClassName", "runtimeClassName"):
        value = spec.get(field)
        if value:
            errors += [invalid_value(f"{path}.{field}", value, text) for text in names.check_subdomain(value)]
    for field in ("hostname", "subdomain"):
        value = spec.get(field)
        if value:
            errors += [invalid_value(f"{path}.{field}", value, text) for text in names.check_label(value)]
    for index, alias in enumerate(spec.get("hostAliases") or ()):
        where, address = f"{path}.hostAliases[{index}]", alias.get("ip", "")
        errors += [invalid_value(f"{where}.ip", address, text) for text in names.check_ip(address)]
        for place, name in enumerate(alias.get("hostnames") or ()):
            errors += [
                invalid_value(f"{where}.hostnames[{place}]", name, text) for text in names.check_subdomain(name)
            ]
    return errors


def validate_spec(spec: JsonObject, path: str, *, is_pod: bool) -> list[FieldError]:
    """A pod's spec, or (`is_pod` false) a template's, which some rules spare."""
    errors: list[FieldError] = []
    if spec.get("terminationGracePeriodSeconds") is None:
        errors.append(required(f"{path}.terminationGracePeriodSeconds"))
    volumes, volume_errors = validate_volumes(spec.get("volumes") or [], f"{path}.volumes")
    errors += volume_errors
    errors += _validate_main(spec, volumes, f"{path}.containers")
    errors += _validate_init(spec, volumes, f"{path}.initContainers")
    errors += _validate_ephemeral(spec, volumes, f"{path}.ephemeralContainers")
    errors += _validate_host_network(spec, path, is_pod)
    policy = spec.get("restartPolicy", "")
    if not policy:
        errors.append(required(f"{path}.restartPolicy"))
    elif policy not in RESTART_POLICIES:
        errors.append(not_supported(f"{path}.restartPolicy", policy, RESTART_POLICIES))
    errors += _validate_dns(spec, path) + validate_labels(spec.get("nodeSelector"), f"{path}.nodeSelector")
    errors += _validate_security(spec.get("securityContext"), spec, path)
    errors += validate_affinity(spec.get("affinity"), f"{path}.affinity") + _validate_gates(spec, path)
    errors += validate_spread(spec.get("topologySpreadConstraints") or [], f"{path}.topologySpreadConstraints")
    errors += _validate_names(spec, path) + validate_tolerations(spec.get("tolerations") or [], f"{path}.tolerations")
    deadline = spec.get("activeDeadlineSeconds")
    if deadline is not None and not 1 <= deadline <= MAX_INT32:
        detail = f"must be between 1 and {MAX_INT32}, inclusive"
        errors.append(invalid_value(f"{path}.activeDeadlineSeconds", deadline, detail))
    preemption = spec.get("preemptionPolicy")
    if preemption not in (None, "PreemptLowerPriority", "Never"):
        errors.append(not_supported(f"{path}.preemptionPolicy", preemption, ["PreemptLowerPriority", "Never"]))
    return errors + resources.validate_list(spec.get("overhead"), f"{path}.overhead")


def _validate_image_spaces(container: JsonObject, path: str) -> list[FieldError]:
    image = container.get("image", "")
    if image != image.strip():
        return [invalid_value(f"{path}.image", image, "must not have leading or trailing whitespace")]
    return []


def _validate_claim_names(pod: JsonObject) -> list[FieldError]:
    """An ephemeral volume's claim is named after pod and volume; without a name yet, that is judged later."""
    errors: list[FieldError] = []
    for index, volume in enumerate((pod.get("spec") or {}).get("volumes") or ()):
        if not meta.name(pod) or not isinstance(volume.get("ephemeral"), dict):
            continue
        claim, name = storage.ephemeral_claim_name(pod, volume), volume.get("name", "")
        errors += [
            invalid_value(f"spec.volumes[{index}].name", name, f'PVC name "{claim}": {text}')
            for text in names.check_subdomain(claim)
        ]
    return errors


def validate(pod: JsonObject) -> list[FieldError]:
    spec = pod.get("spec") or {}
    errors = validate_spec(spec, "spec", is_pod=True)
    for group in ("containers", "initContainers"):
        for index, container in enumerate(spec.get(group) or ()):
            errors += _validate_image_spaces(container, f"spec.{group}[{index}]")
    errors += _validate_claim_names(pod)
    if not spec.get("serviceAccountName"):
        for index, volume in enumerate(spec.get("volumes") or ()):
            for place, source in enumerate((volume.get("projected") or {}).get("sources") or ()):
                if source.get("serviceAccountToken") is not None:
                    where = f"spec.volumes[{index}].projected.sources[{place}].serviceAccountToken"
                    errors.append(forbidden_field(where, "must not be specified when serviceAccountName is not set"))
    return errors


def validate_create(pod: JsonObject) -> list[FieldError]:
    """What only a new pod must not have."""
    spec = pod.get("spec") or {}
    errors: list[FieldError] = []
    if spec.get("ephemeralContainers"):
        errors.append(forbidden_field("spec.ephemeralContainers", "cannot be set on create"))
    if spec.get("nodeName") and spec.get("schedulingGates"):
        detail = "cannot be set until all schedulingGates have been cleared"
        errors.append(forbidden_field("spec.nodeName", detail))
    return errors


def validate_template(template: JsonObject, path: str) -> list[FieldError]:
    """A PodTemplateSpec, as workloads hold it."""
    metadata, spec = template.get("metadata") or {}, template.get("spec") or {}
    errors = validate_labels(metadata.get("labels"), f"{path}.metadata.labels")
    errors += validate_annotations(metadata.get("annotations"), f"{path}.metadata.annotations")
    errors += validate_spec(spec, f"{path}.spec", is_pod=False)
    if spec.get("ephemeralContainers"):
        detail = "ephemeral containers not allowed in pod template"
        errors.append(forbidden_field(f"{path}.spec.ephemeralContainers", detail))
    return errors
