"""Which metrics there are: series by metric and resource, from the rules and what Prometheus lists. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from control_plane.metrics.adapter.rules import Rule, Rules

NAME: Final = "__name__"
RESOURCES: Final = (
    *(
        "pods",
        "services",
        "nodes",
        "namespaces",
        "persistentvolumeclaims",
        "jobs.batch",
        "ingresses.networking.k8s.io",
    ),
    *("deployments.apps", "statefulsets.apps", "daemonsets.apps", "replicasets.apps"),
)
"""What a rule with a template is tried for."""
CLUSTER_SCOPED: Final = ("nodes", "namespaces", "persistentvolumes")


@dataclass(frozen=True)
class Source:
    """How one metric is had: a rule and a series' name."""

    rule: Rule
    series: str


@dataclass(frozen=True)
class Catalog:
    custom: Mapping[tuple[str, str], Source] = field(default_factory=dict)
    """By (resource, metric)."""
    external: Mapping[str, Source] = field(default_factory=dict)
    """By metric."""


def build(rules: Rules, listed: Mapping[Rule, Iterable[Mapping[str, str]]]) -> Catalog:
    """`listed` are the label sets of each rule's series. Where two rules give a metric, the first stays."""
    custom: dict[tuple[str, str], Source] = {}
    external: dict[str, Source] = {}
    for rule in rules.custom:
        for labels in listed.get(rule, ()):
            series = labels.get(NAME, "")
            if not series or not rule.takes(series):
                continue
            metric = rule.metric(series)
            for resource in {**dict.fromkeys(rule.labels), **dict.fromkeys(RESOURCES)}:
                label = rule.label(resource)
                if metric and label and label in labels:
                    custom.setdefault((resource, metric), Source(rule, series))
    for rule in rules.external:
        for labels in listed.get(rule, ()):
            series = labels.get(NAME, "")
            if series and rule.takes(series) and (metric := rule.metric(series)):
                external.setdefault(metric, Source(rule, series))
    return Catalog(custom, external)
