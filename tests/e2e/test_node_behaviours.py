"""Every case of `node_cases.py` on real nodes: all pods are made at once, each test waits for its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from argosy.testing import Cluster
from tests.e2e.node_cases import ALL, Case, Json

NAMESPACE = "node-cases"
IN_NAMESPACE = ("-n", NAMESPACE)
LIMIT_S = 90.0


class Pods:
    """What the cluster says of all cases, asked once a round for all tests."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.found: dict[str, Json] = {}
        self.events: dict[str, list[tuple[str, str]]] = {}

    def look(self) -> None:
        items = self.cluster.get("pods", *IN_NAMESPACE)["items"]
        self.found = {item["metadata"]["name"]: item for item in items}
        self.events = {}
        for event in self.cluster.get("events", *IN_NAMESPACE)["items"]:
            told = (event["reason"], event["message"])
            self.events.setdefault(event["involvedObject"]["name"], []).append(told)


@pytest.fixture(scope="module")
def pods(cluster: Cluster) -> Iterator[Pods]:
    words = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "words"}, "data": {"a": "1", "b": "two"}}
    hidden = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "hidden"}, "stringData": {"pw": "s3"}}
    for item in (words, hidden):
        item["metadata"]["namespace"] = NAMESPACE  # type: ignore[index]
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    cluster.apply(namespace)
    cluster.wait("serviceaccount/default", "create", *IN_NAMESPACE)
    try:
        cluster.apply(words, hidden, *(case.pod(NAMESPACE) for case in ALL))
        found = Pods(cluster)
        found.look()
        yield found
    finally:
        cluster.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


def differs(wanted: Any, found: Any, path: str = "") -> str:
    """Where `found` lacks what is wanted; empty when it has it all."""
    if isinstance(wanted, dict):
        if not isinstance(found, dict):
            return f"{path} is {found!r}"
        complaints = (differs(value, found.get(key), f"{path}.{key}") for key, value in wanted.items())
        return next((complaint for complaint in complaints if complaint), "")
    if isinstance(wanted, str):
        return "" if wanted in str(found or "") else f"{path} is {found!r}, not {wanted!r}"
    return "" if wanted == found else f"{path} is {found!r}, not {wanted!r}"


def complaint(case: Case, pods: Pods) -> str:
    status = pods.found[case.name].get("status") or {}
    containers = (status.get("containerStatuses") or [{}])[0]
    inits = (status.get("initContainerStatuses") or [{}])[0]
    for wanted, found in ((case.status, status), (case.state, containers), (case.init, inits)):
        if lack := differs(wanted, found):
            return lack
    events = pods.events.get(case.name, [])
    for reason, message in case.events:
        if not any(reason == told and message in text for told, text in events):
            return f"no event {reason} with {message!r} among {events}"
    if case.log:
        lines = pods.cluster.kubectl_result("logs", case.name, *IN_NAMESPACE).stdout.splitlines()
        missing = [line for line in case.log if line not in lines]
        if missing:
            return f"no {missing} in the log {lines}"
    return ""


@pytest.mark.parametrize("case", ALL, ids=[case.name for case in ALL])
def test_a_pod_fares_as_on_any_node(pods: Pods, case: Case) -> None:
    last = complaint(case, pods)

    def as_wanted() -> bool:
        nonlocal last
        if last:
            pods.look()
            last = complaint(case, pods)
        return not last

    try:
        pods.cluster.eventually(as_wanted, timeout_s=LIMIT_S)
    except AssertionError as failure:
        raise AssertionError(f"{case.name}: {last}") from failure
