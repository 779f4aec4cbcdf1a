"""The event-driven scaler's kind: the CustomResourceDefinition of ScaledObject. Pure.

Its fields are those of KEDA's ScaledObject as far as they are served; what is not is refused by the schema's enums
and by `triggers.parse`, never ignored.
"""

from __future__ import annotations

from typing import Final

from argosy.objects.types import JsonObject

GROUP: Final = "scaling.argosy.io"
VERSION: Final = "v1alpha1"
DEFAULT_POLLING_S: Final = 30
DEFAULT_COOLDOWN_S: Final = 300
DEFAULT_MAX_REPLICAS: Final = 100
DEFAULT_WINDOW_S: Final = 300
MAX_WINDOW_S: Final = 3600

_COUNT: Final[JsonObject] = {"type": "integer", "format": "int32", "minimum": 0}
_TEXT: Final[JsonObject] = {"type": "string"}
_CONDITION: Final[JsonObject] = {
    "type": "object",
    "required": ["type", "status"],
    "properties": {
        **dict.fromkeys(("type", "status", "reason", "message"), _TEXT),
        "lastTransitionTime": {"type": "string", "format": "date-time"},
    },
}


def _holder(name: str, schema: JsonObject) -> JsonObject:
    """An object with one field, made where it is left out so that the field's default counts."""
    return {"type": "object", "properties": {name: schema}, "default": {}}


_WINDOW: Final[JsonObject] = {**_COUNT, "maximum": MAX_WINDOW_S, "default": DEFAULT_WINDOW_S}
_BEHAVIOR: Final[JsonObject] = _holder("scaleDown", _holder("stabilizationWindowSeconds", _WINDOW))
_TRIGGER: Final[JsonObject] = {
    "type": "object",
    "required": ["type", "metadata"],
    "properties": {
        "type": {"type": "string", "enum": ["redis", "cron"]},
        "name": _TEXT,
        "metadata": {"type": "object", "additionalProperties": {"type": "string"}},
        "passwordSecret": {
            "type": "object",
            "required": ["name", "key"],
            "properties": {"name": _TEXT, "key": _TEXT},
        },
    },
}
_SPEC: Final[JsonObject] = {
    "type": "object",
    "required": ["scaleTargetRef", "triggers"],
    "properties": {
        "scaleTargetRef": {
            "type": "object",
            "required": ["name"],
            "properties": {
                "apiVersion": {"type": "string", "default": "apps/v1"},
                "kind": {"type": "string", "default": "Deployment"},
                "name": {"type": "string", "minLength": 1},
            },
        },
        "pollingInterval": {"type": "integer", "format": "int32", "minimum": 1, "default": DEFAULT_POLLING_S},
        "cooldownPeriod": {**_COUNT, "default": DEFAULT_COOLDOWN_S},
        "minReplicaCount": {**_COUNT, "default": 0},
        "maxReplicaCount": {"type": "integer", "format": "int32", "minimum": 1, "default": DEFAULT_MAX_REPLICAS},
        "advanced": _holder("horizontalPodAutoscalerConfig", _holder("behavior", _BEHAVIOR)),
        "fallback": {
            "type": "object",
            "required": ["failureThreshold", "replicas"],
            "properties": {"failureThreshold": _COUNT, "replicas": _COUNT},
        },
        "triggers": {"type": "array", "minItems": 1, "maxItems": 20, "items": _TRIGGER},
    },
    "x-kubernetes-validations": [
        {
            "rule": "self.minReplicaCount <= self.maxReplicaCount",
            "message": "minReplicaCount must not be greater than maxReplicaCount",
        }
    ],
}
_STATUS: Final[JsonObject] = {
    "type": "object",
    "properties": {
        "replicas": {"type": "integer", "format": "int32"},
        "lastActiveTime": {"type": "string", "format": "date-time"},
        "failures": {"type": "integer", "format": "int32"},
        "conditions": {"type": "array", "items": _CONDITION},
    },
}


def _column(name: str, path: str, kind: str = "string") -> JsonObject:
    return {"name": name, "jsonPath": path, "type": kind}


SCALED_OBJECT: Final[JsonObject] = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": f"scaledobjects.{GROUP}"},
    "spec": {
        "group": GROUP,
        "scope": "Namespaced",
        "names": {
            "kind": "ScaledObject",
            "listKind": "ScaledObjectList",
            "plural": "scaledobjects",
            "singular": "scaledobject",
            "shortNames": ["so"],
        },
        "versions": [
            {
                "name": VERSION,
                "served": True,
                "storage": True,
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "required": ["spec"],
                        "properties": {"spec": _SPEC, "status": _STATUS},
                    }
                },
                "subresources": {"status": {}},
                "additionalPrinterColumns": [
                    _column("ScaleTargetKind", ".spec.scaleTargetRef.kind"),
                    _column("ScaleTargetName", ".spec.scaleTargetRef.name"),
                    _column("Min", ".spec.minReplicaCount", "integer"),
                    _column("Max", ".spec.maxReplicaCount", "integer"),
                    _column("Ready", ".status.conditions[?(@.type=='Ready')].status"),
                    _column("Active", ".status.conditions[?(@.type=='Active')].status"),
                    _column("Age", ".metadata.creationTimestamp", "date"),
                ],
            }
        ],
    },
}
