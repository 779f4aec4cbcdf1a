"""`--node-group NAME=MIN:MAX[,cpus=1,memory=1Gi,labels=a=b;c=d,taints=k=v:NoSchedule]`: reading it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from argosy.cli.starting import node_size
from argosy.objects import names

if TYPE_CHECKING:
    from deploy.cluster import NodeGroupConfig

HELP = "NAME=MIN:MAX[,cpus=1,memory=1Gi,labels=a=b;c=d,taints=k=v:NoSchedule]: nodes that come and go by need."
FORM = "NAME=MIN:MAX[,cpus=1,memory=1Gi,labels=a=b;c=d,taints=k=v:NoSchedule]"
MAX_NAME_CHARS = 20
EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_OWN = re.compile(r"([a-z0-9-]+\.)*(kubernetes\.io|k8s\.io|argosy\.dev)/")


def node_groups(given: list[str], nodes: int) -> tuple[NodeGroupConfig, ...]:
    """`nodes`: how many others share the machine's memory. Raises ValueError naming what cannot be."""
    found: dict[str, NodeGroupConfig] = {}
    for text in given:
        group = node_group(text, nodes)
        if group.name in found:
            raise ValueError(f"--node-group {text}: there is another group {group.name!r}")
        found[group.name] = group
    return tuple(found.values())


def node_group(text: str, nodes: int) -> NodeGroupConfig:
    """Raises ValueError."""
    from deploy.cluster import NodeGroupConfig
    from deploy.layout import MAX_MEMBERS, check_name

    parts = text.split(",")
    name, equals, sizes = parts[0].partition("=")
    match = re.fullmatch(r"(\d{1,4}):(\d{1,4})", sizes)
    if not equals or match is None:
        raise ValueError(f"--node-group {text}: {FORM}")
    try:
        check_name(name)
    except ValueError as error:
        raise ValueError(f"--node-group {text}: {error}") from None
    if len(name) > MAX_NAME_CHARS:
        raise ValueError(f"--node-group {text}: a name has {MAX_NAME_CHARS} characters at most")
    least, most = int(match[1]), int(match[2])
    if not least <= most <= MAX_MEMBERS or most == 0:
        raise ValueError(f"--node-group {text}: MIN may not be above MAX, and MAX is between 1 and {MAX_MEMBERS}")
    options: dict[str, str] = {}
    for part in parts[1:]:
        key, equals, value = part.partition("=")
        if key not in ("cpus", "memory", "labels", "taints") or not equals or key in options:
            raise ValueError(
                f"--node-group {text}: {part!r} is not one of cpus=, memory=, labels=, taints=, once each"
            )
        options[key] = value
    try:
        cpus, memory_bytes = node_size(float(options.get("cpus", 0)), options.get("memory", ""), nodes + most)
        labels = tuple(_label(label) for label in _listed(options.get("labels", "")))
        taints = tuple(_taint(taint) for taint in _listed(options.get("taints", "")))
    except ValueError as error:
        raise ValueError(f"--node-group {text}: {error}") from None
    return NodeGroupConfig(name, least, most, cpus, memory_bytes, labels, taints)


def _listed(text: str) -> list[str]:
    return [item for item in text.split(";") if item]


def _label(text: str) -> str:
    key, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"label {text!r}: KEY=VALUE")
    _check(f"label {text!r}", names.check_qualified_name(key) + names.check_label_value(value))
    if _OWN.match(key) and not key.startswith(("topology.kubernetes.io/", "node.kubernetes.io/")):
        raise ValueError(f"label {text!r}: a node may not give itself labels of {key.split('/')[0]}")
    return text


def _taint(text: str) -> str:
    pair, colon, effect = text.rpartition(":")
    key, _, value = pair.partition("=")
    if not colon or effect not in EFFECTS:
        raise ValueError(f"taint {text!r}: KEY=VALUE:EFFECT with one of {', '.join(EFFECTS)}")
    _check(f"taint {text!r}", names.check_qualified_name(key) + names.check_label_value(value))
    return text


def _check(what: str, problems: list[str]) -> None:
    if problems:
        raise ValueError(f"{what}: {problems[0]}")
