"""The vertical autoscaler's kinds: CustomResourceDefinitions of autoscaling.k8s.io/v1. Pure.

Fields and columns are upstream's (vertical-pod-autoscaler `deploy/vpa-v1-crd-gen.yaml`), so that its manifests apply.
What is not served (evictionRequirements, recommenders, startupBoost) is not in the schema, and so refused by name.
"""

from __future__ import annotations

from typing import Final

from argosy.objects.types import JsonObject

GROUP: Final = "autoscaling.k8s.io"
VERSION: Final = "v1"
MODES: Final = ("Off", "Initial", "Recreate", "InPlaceOrRecreate", "Auto")


def _object(properties: JsonObject, required: tuple[str, ...] = ()) -> JsonObject:
    made: JsonObject = {"type": "object", "properties": properties}
    return {**made, "required": list(required)} if required else made


def _list(items: JsonObject) -> JsonObject:
    return {"type": "array", "items": items}


_TEXT: Final[JsonObject] = {"type": "string"}
_TIME: Final[JsonObject] = {"type": "string", "format": "date-time", "nullable": True}
_NUMBER: Final = r"(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))"
_QUANTITY: Final[JsonObject] = {
    "anyOf": [{"type": "integer"}, {"type": "string"}],
    "pattern": rf"^(\+|-)?{_NUMBER}(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?{_NUMBER}))?$",
    "x-kubernetes-int-or-string": True,
}
_RESOURCES: Final[JsonObject] = {"type": "object", "additionalProperties": _QUANTITY}
_REFERENCE: Final = _object({"apiVersion": _TEXT, "kind": _TEXT, "name": _TEXT}, ("kind", "name"))
_CONTAINER_POLICY: Final = _object(
    {
        "containerName": _TEXT,
        "mode": {"type": "string", "enum": ["Auto", "Off"]},
        "minAllowed": _RESOURCES,
        "maxAllowed": _RESOURCES,
        "controlledResources": _list({"type": "string"}),
        "controlledValues": {"type": "string", "enum": ["RequestsAndLimits", "RequestsOnly"]},
    }
)
_UPDATE_POLICY: Final = _object(
    {
        "updateMode": {"type": "string", "enum": list(MODES)},
        "minReplicas": {"type": "integer", "format": "int32"},
    }
)
_RECOMMENDED: Final = _object(
    {
        "containerName": _TEXT,
        "lowerBound": _RESOURCES,
        "target": _RESOURCES,
        "uncappedTarget": _RESOURCES,
        "upperBound": _RESOURCES,
    },
    ("target",),
)
_CONDITION: Final = _object(
    {"type": _TEXT, "status": _TEXT, "reason": _TEXT, "message": _TEXT, "lastTransitionTime": _TIME},
    ("type", "status"),
)
_HISTOGRAM: Final = _object(
    {
        "bucketWeights": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        "referenceTimestamp": _TIME,
        "totalWeight": {"type": "number"},
    }
)


def _column(name: str, path: str, kind: str = "string") -> JsonObject:
    return {"name": name, "jsonPath": path, "type": kind}


def _definition(kind: str, plural: str, short: str, schema: JsonObject, columns: list[JsonObject]) -> JsonObject:
    names = {
        "kind": kind,
        "listKind": f"{kind}List",
        "plural": plural,
        "singular": kind.lower(),
        "shortNames": [short],
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{plural}.{GROUP}",
            # autoscaling.k8s.io is one of Kubernetes' own groups, which need a word of approval.
            "annotations": {"api-approved.kubernetes.io": "https://github.com/kubernetes/kubernetes/pull/63797"},
        },
        "spec": {
            "group": GROUP,
            "names": {**names, "shortNames": [short]},
            "scope": "Namespaced",
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": schema},
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": columns,
                }
            ],
        },
    }


_TARGET_PATH: Final = ".status.recommendation.containerRecommendations[0].target"

ALL: Final = (
    _definition(
        "VerticalPodAutoscaler",
        "verticalpodautoscalers",
        "vpa",
        _object(
            {
                "spec": _object(
                    {
                        "targetRef": _REFERENCE,
                        "updatePolicy": _UPDATE_POLICY,
                        "resourcePolicy": _object({"containerPolicies": _list(_CONTAINER_POLICY)}),
                    },
                    ("targetRef",),
                ),
                "status": _object(
                    {
                        "recommendation": _object({"containerRecommendations": _list(_RECOMMENDED)}),
                        "conditions": _list(_CONDITION),
                    }
                ),
            },
            ("spec",),
        ),
        [
            _column("Mode", ".spec.updatePolicy.updateMode"),
            _column("CPU", f"{_TARGET_PATH}.cpu"),
            _column("Mem", f"{_TARGET_PATH}.memory"),
            _column("Provided", ".status.conditions[?(@.type=='RecommendationProvided')].status"),
            _column("Age", ".metadata.creationTimestamp", "date"),
        ],
    ),
    _definition(
        "VerticalPodAutoscalerCheckpoint",
        "verticalpodautoscalercheckpoints",
        "vpacheckpoint",
        _object(
            {
                "spec": _object({"vpaObjectName": _TEXT, "containerName": _TEXT}),
                "status": _object(
                    {
                        "version": _TEXT,
                        "lastUpdateTime": _TIME,
                        "firstSampleStart": _TIME,
                        "lastSampleStart": _TIME,
                        "totalSamplesCount": {"type": "integer"},
                        "cpuHistogram": _HISTOGRAM,
                        "memoryHistogram": _HISTOGRAM,
                    }
                ),
            }
        ),
        [],
    ),
)
