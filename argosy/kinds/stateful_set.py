"""StatefulSet: pods with names, volumes and an order of their own."""

from __future__ import annotations

from argosy.kinds import claim_spec, columns, workload
from argosy.kinds.kind import AGE_COLUMN, Kind, keep_status, scale_subresource, status_subresource
from argosy.kinds.pod_default import default_template
from argosy.objects import intstr, meta, names
from argosy.objects.status import FieldError, forbidden_field, invalid_value, not_supported, required
from argosy.objects.types import JsonObject

HISTORY_LIMIT = 10
CHANGEABLE = (
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
)
STATUS_COUNTS = ("replicas", "readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas")
COLLISIONS = ("observedGeneration", "collisionCount")


def default(obj: JsonObject) -> None:
    spec = obj.get("spec")
    if not isinstance(spec, dict):
        spec = obj["spec"] = {}
    for field, value in (
        ("podManagementPolicy", "OrderedReady"),
        ("replicas", 1),
        ("revisionHistoryLimit", HISTORY_LIMIT),
    ):
        if spec.get(field) in (None, ""):
            spec[field] = value
    strategy = spec.get("updateStrategy")
    if not isinstance(strategy, dict):
        strategy = spec["updateStrategy"] = {}
    if not strategy.get("type"):
        strategy["type"] = "RollingUpdate"
        # As upstream: only a strategy without a type gets its parameters filled in when it names none.
        if not isinstance(strategy.get("rollingUpdate"), dict):
            strategy["rollingUpdate"] = {}
    if strategy["type"] == "RollingUpdate" and isinstance(strategy.get("rollingUpdate"), dict):
        if strategy["rollingUpdate"].get("partition") is None:
            strategy["rollingUpdate"]["partition"] = 0
        if strategy["rollingUpdate"].get("maxUnavailable") is None:
            strategy["rollingUpdate"]["maxUnavailable"] = 1
    policy = spec.get("persistentVolumeClaimRetentionPolicy")
    if not isinstance(policy, dict):
        policy = spec["persistentVolumeClaimRetentionPolicy"] = {}
    for field in ("whenDeleted", "whenScaled"):
        if not policy.get(field):
            policy[field] = "Retain"
    for claim in spec.get("volumeClaimTemplates") or ():
        _default_claim(claim)
    default_template(spec)


def _default_claim(claim: JsonObject) -> None:
    claim["apiVersion"], claim["kind"] = "v1", "PersistentVolumeClaim"
    if not isinstance(claim.get("status"), dict):
        claim["status"] = {}
    if not claim["status"].get("phase"):
        claim["status"]["phase"] = "Pending"
    if not isinstance(claim.get("spec"), dict):
        claim["spec"] = {}
    claim_spec.default_spec(claim["spec"])


def prepare_create(obj: JsonObject) -> None:
    obj["status"] = {"replicas": 0, "availableReplicas": 0}


def _validate_strategy(strategy: JsonObject) -> list[FieldError]:
    path, kind, rolling = "spec.updateStrategy", strategy.get("type"), strategy.get("rollingUpdate")
    if not kind:
        return [required(path)]
    if kind == "OnDelete":
        if rolling is None:
            return []
        detail = "only allowed for updateStrategy 'RollingUpdate'"
        return [invalid_value(f"{path}.rollingUpdate", rolling, detail)]
    if kind != "RollingUpdate":
        return [invalid_value(path, strategy, "must be 'RollingUpdate' or 'OnDelete'")]
    if rolling is None:
        return []
    errors: list[FieldError] = []
    partition, away = rolling.get("partition"), rolling.get("maxUnavailable")
    if isinstance(partition, int) and partition < 0:
        errors.append(invalid_value(f"{path}.rollingUpdate.partition", partition, workload.NOT_NEGATIVE))
    if away is not None:
        where = f"{path}.rollingUpdate.maxUnavailable"
        errors += workload.validate_step(away, where)
        if away == 0 or intstr.percent(away) == 0:
            errors.append(invalid_value(where, away, "cannot be 0"))
        if (intstr.percent(away) or 0) > 100:
            errors.append(invalid_value(where, away, "must not be greater than 100%"))
    return errors


def _validate_claims(spec: JsonObject) -> list[FieldError]:
    errors: list[FieldError] = []
    for index, claim in enumerate(spec.get("volumeClaimTemplates") or ()):
        where, name = f"spec.volumeClaimTemplates[{index}]", meta.name(claim)
        if not name:
            errors.append(required(f"{where}.metadata.name"))
        errors += [invalid_value(f"{where}.metadata.name", name, text) for text in names.check_label(name) if name]
        errors += claim_spec.validate_spec(claim.get("spec") or {}, f"{where}.spec")
    return errors


def claim_volumes(spec: JsonObject) -> list[JsonObject]:
    """The volumes that the claim templates give to a pod, by name alone: which claims they are depends on the pod."""
    return [
        {"name": meta.name(claim), "persistentVolumeClaim": {"claimName": meta.name(claim) or "claim"}}
        for claim in spec.get("volumeClaimTemplates") or ()
    ]


def validate(obj: JsonObject) -> list[FieldError]:
    spec = obj.get("spec") or {}
    errors: list[FieldError] = []
    policy = spec.get("podManagementPolicy")
    if not policy:
        errors.append(required("spec.podManagementPolicy"))
    elif policy not in ("OrderedReady", "Parallel"):
        errors.append(invalid_value("spec.podManagementPolicy", policy, "must be 'OrderedReady' or 'Parallel'"))
    errors += _validate_strategy(spec.get("updateStrategy") or {})
    retention = spec.get("persistentVolumeClaimRetentionPolicy") or {}
    for field in ("whenDeleted", "whenScaled"):
        if retention and retention.get(field) not in ("Retain", "Delete"):
            path = f"spec.persistentVolumeClaimRetentionPolicy.{field}"
            errors.append(not_supported(path, retention.get(field), ["Retain", "Delete"]))
    errors += workload.not_negative(spec, "replicas", "minReadySeconds", "revisionHistoryLimit")
    start = (spec.get("ordinals") or {}).get("start")
    if isinstance(start, int) and start < 0:
        errors.append(invalid_value("spec.ordinals.start", start, workload.NOT_NEGATIVE))
    service = spec.get("serviceName")
    if service:
        errors += [invalid_value("spec.serviceName", service, text) for text in names.check_label(service)]
    errors += _validate_claims(spec)
    return errors + workload.validate_selector_and_template(
        spec, "statefulset", "StatefulSet", volumes=claim_volumes(spec)
    )


def validate_update(new: JsonObject, old: JsonObject) -> list[FieldError]:
    changed = {**(new.get("spec") or {})}
    before = old.get("spec") or {}
    for field in CHANGEABLE:
        changed.pop(field, None)
    if changed == {key: value for key, value in before.items() if key not in CHANGEABLE}:
        return []
    quoted = [f"'{field}'" for field in CHANGEABLE]
    allowed = f"{', '.join(quoted[:-1])} and {quoted[-1]}"
    return [forbidden_field("spec", f"updates to statefulset spec for fields other than {allowed} are forbidden")]


def validate_status_update(new: JsonObject, old: JsonObject) -> list[FieldError]:
    status = new.get("status") or {}
    errors: list[FieldError] = []
    for field in (*STATUS_COUNTS, *COLLISIONS):
        value = status.get(field) or 0
        if value < 0:
            errors.append(invalid_value(f"status.{field}", value, workload.NOT_NEGATIVE))
    for field in STATUS_COUNTS[1:]:
        if (status.get(field) or 0) > (status.get("replicas") or 0):
            errors.append(invalid_value(f"status.{field}", status[field], "cannot be greater than status.replicas"))
    if (status.get("availableReplicas") or 0) > (status.get("readyReplicas") or 0):
        detail = "cannot be greater than status.readyReplicas"
        errors.append(invalid_value("status.availableReplicas", status["availableReplicas"], detail))
    return errors + workload.collisions_decremented(new, old)


def _ready(obj: JsonObject) -> str:
    return f"{columns.number_at(obj, 'status', 'readyReplicas')}/{columns.number_at(obj, 'spec', 'replicas')}"


STATEFUL_SET = Kind(
    group="apps",
    version="v1",
    kind="StatefulSet",
    plural="statefulsets",
    singular="statefulset",
    namespaced=True,
    short_names=("sts",),
    categories=("all",),
    subresources=(scale_subresource(), status_subresource("apps", "v1", "StatefulSet")),
    default=default,
    validate=validate,
    validate_update=validate_update,
    validate_status_update=validate_status_update,
    prepare_create=prepare_create,
    prepare_update=keep_status,
    columns=(
        columns.computed("Ready", _ready, description="Ready pods, of those wanted."),
        AGE_COLUMN,
        *workload.TEMPLATE_COLUMNS[:2],
    ),
    has_generation=True,
    name_validator=lambda name: "; ".join(names.check_label(name)),
)
