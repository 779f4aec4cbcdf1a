"""The adapter's configuration: which series become which metrics, and by what query. Pure.

The file is prometheus-adapter's (`rules` and `externalRules`; docs/config.md there), so that an existing one works;
what of its templates is not supported is refused by name.

    rules:
    - seriesQuery: 'http_requests_total{namespace!="",pod!=""}'
      resources: {overrides: {namespace: {resource: namespace}, pod: {resource: pod}}}
      name: {matches: "^(.*)_total$", as: "${1}_per_second"}
      metricsQuery: 'sum(rate(<<.Series>>{<<.LabelMatchers>>}[1m])) by (<<.GroupBy>>)'
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from argosy.objects.types import JsonObject

MAX_RULES: Final = 1000
_HOLE: Final = re.compile(r"<<\s*(.*?)\s*>>")
_FILLED: Final = (".Series", ".LabelMatchers", ".GroupBy")
_GROUP: Final = re.compile(r"\$(?:\{(\w+)\}|(\d+))")


class RuleError(ValueError):
    """The configuration cannot be used; the message names the rule and the field."""


@dataclass(frozen=True, eq=False)
class Rule:
    series_query: str
    """A Prometheus selector: which series this is about."""
    keep: tuple[re.Pattern[str], ...]
    drop: tuple[re.Pattern[str], ...]
    """seriesFilters `is` and `isNot`."""
    labels: Mapping[str, str]
    """The label that names an object, by resource (`pods`, `services`, `deployments.apps`)."""
    template: str
    """For resources that `labels` lacks, with <<.Resource>> and <<.Group>>; empty: none."""
    matches: re.Pattern[str]
    becomes: str
    """The metric's name, with \\g<1> for groups of `matches`."""
    query: str
    namespaced: bool = True

    def takes(self, series: str) -> bool:
        return all(pattern.search(series) for pattern in self.keep) and not any(
            pattern.search(series) for pattern in self.drop
        )

    def metric(self, series: str) -> str:
        """The metric's name; empty when the series' name does not match."""
        found = self.matches.search(series)
        return found.expand(self.becomes) if found else ""

    def label(self, resource: str) -> str:
        """The label that carries the names of a resource's objects; empty: none does."""
        if resource in self.labels:
            return self.labels[resource]
        if not self.template:
            return ""
        name, _, group = resource.partition(".")
        fill = {".Resource": _singular(name), ".Group": group}
        return _HOLE.sub(lambda hole: fill.get(hole[1], ""), self.template)

    def promql(self, series: str, matchers: Sequence[tuple[str, str, str]], group_by: str) -> str:
        """The query; `matchers` are (label, operator, value)."""
        fill = {
            ".Series": series,
            ".LabelMatchers": ",".join(f"{label}{operator}{quoted(value)}" for label, operator, value in matchers),
            ".GroupBy": group_by,
        }
        return _HOLE.sub(lambda hole: fill[hole[1]], self.query)


@dataclass(frozen=True)
class Rules:
    custom: tuple[Rule, ...] = ()
    external: tuple[Rule, ...] = ()


def parse(config: JsonObject) -> Rules:
    """Raises RuleError."""
    unknown = sorted(config.keys() - {"rules", "externalRules", "resourceRules"})
    if unknown:
        raise RuleError(f"unknown field {unknown[0]}")
    return Rules(_rules(config, "rules"), _rules(config, "externalRules"))


def _rules(config: JsonObject, field: str) -> tuple[Rule, ...]:
    listed = config.get(field) or []
    if not isinstance(listed, list) or len(listed) > MAX_RULES:
        raise RuleError(f"{field} must be a list of at most {MAX_RULES} rules")
    return tuple(_rule(f"{field}[{index}]", item) for index, item in enumerate(listed))


def _rule(where: str, item: object) -> Rule:
    if not isinstance(item, dict):
        raise RuleError(f"{where} must be an object")
    for needed in ("seriesQuery", "metricsQuery"):
        if not isinstance(item.get(needed), str) or not item[needed]:
            raise RuleError(f"{where}.{needed} is required")
    for hole in _HOLE.findall(item["metricsQuery"]):
        if hole not in _FILLED:
            raise RuleError(f"{where}.metricsQuery: <<{hole}>> is not supported, only {', '.join(_FILLED)}")
    name = item.get("name") or {}
    matches = _pattern(f"{where}.name.matches", name.get("matches") or ".*")
    becomes = name.get("as") or ("$1" if matches.groups == 1 else "$0")
    filters = item.get("seriesFilters") or []
    resources = item.get("resources") or {}
    labels = {}
    for label, target in (resources.get("overrides") or {}).items():
        resource = target.get("resource") if isinstance(target, dict) else None
        if not isinstance(resource, str) or not resource:
            raise RuleError(f"{where}.resources.overrides.{label}.resource is required")
        labels[_qualified(resource, str(target.get("group") or ""))] = str(label)
    return Rule(
        series_query=item["seriesQuery"],
        keep=tuple(_pattern(f"{where}.seriesFilters", each["is"]) for each in filters if each.get("is")),
        drop=tuple(_pattern(f"{where}.seriesFilters", each["isNot"]) for each in filters if each.get("isNot")),
        labels=labels,
        template=str(resources.get("template") or ""),
        matches=matches,
        becomes=_GROUP.sub(lambda group: f"\\g<{group[1] or group[2]}>", becomes),
        query=item["metricsQuery"],
        namespaced=resources.get("namespaced") is not False,
    )


def _pattern(where: str, text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise RuleError(f"{where}: {text!r} is no regular expression: {error}") from None


def _qualified(resource: str, group: str) -> str:
    """`pod` and `pods` are both `pods`, as the adapter takes either."""
    plural = resource if resource.endswith("s") and not resource.endswith("ss") else f"{_plural(resource)}"
    return f"{plural}.{group}" if group else plural


def _plural(word: str) -> str:
    if word.endswith(("s", "x", "ch", "sh")):
        return word + "es"
    return word[:-1] + "ies" if word.endswith("y") else word + "s"


def _singular(word: str) -> str:
    if word.endswith("ies"):
        return word[:-3] + "y"
    if word.endswith(("sses", "xes", "ches", "shes")):
        return word[:-2]
    return word.removesuffix("s")


def quoted(value: str) -> str:
    """A PromQL string."""
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
