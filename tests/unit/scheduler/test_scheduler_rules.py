"""The vector rules against the slow model, over generated clusters; and what is said when nothing fits."""

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from argosy.host import SeededRng
from argosy.objects import meta, selectors
from argosy.objects.types import JsonObject
from argosy.scheduling import fit
from control_plane.scheduler import cycle
from control_plane.scheduler.plugins import default_profile
from control_plane.scheduler.pod_info import PodInfo
from control_plane.scheduler.snapshot import Snapshot
from tests.unit.scheduler.scheduler_model import Model
from tests.unit.scheduler.scheduler_world import node, pod

ZONE, HOST = "topology.kubernetes.io/zone", "kubernetes.io/hostname"
SPACES = {"default": {"team": "a"}, "other": {"team": "b"}}
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
TAINTS = [
    {"key": "k", "value": "v", "effect": effect} for effect in ("NoSchedule", "NoExecute", "PreferNoSchedule")
] + [{"key": "gpu", "effect": "PreferNoSchedule"}]
TOLERATIONS = [
    {"operator": "Exists"}, {"key": "k", "operator": "Exists"}, {"key": "k", "value": "v", "effect": "NoSchedule"},
    {"key": "gpu", "operator": "Exists", "effect": "PreferNoSchedule"},
]  # fmt: skip
SELECTORS = [
    {}, {"matchLabels": {"app": "a"}}, {"matchLabels": {"app": "b"}}, {"matchLabels": {"app": "a", "tier": "x"}},
    {"matchExpressions": [{"key": "app", "operator": "In", "values": ["a", "b"]}]},
    {"matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}]},
]  # fmt: skip

POD_LABELS = st.fixed_dictionaries(
    {}, optional={"app": st.sampled_from(["a", "b"]), "tier": st.sampled_from(["x", "y"])}
)
NODES = st.builds(
    lambda cpu, memory, pods, labels, **spec: dict(cpu=cpu, memory=memory, pods=pods, labels=labels, **spec),
    cpu=st.sampled_from(["1", "2", "4"]),
    memory=st.sampled_from(["1Gi", "3Gi"]),
    pods=st.sampled_from([1, 3, 110]),
    labels=st.fixed_dictionaries(
        {}, optional={ZONE: st.sampled_from(["z1", "z2", "z3"]), "disk": st.sampled_from(["1", "2"])}
    ),
    taints=st.lists(st.sampled_from(TAINTS), max_size=2, unique_by=str),
    unschedulable=st.sampled_from([False, False, False, True]),
)
TERMS = st.builds(
    lambda selector, key, spaces: {"labelSelector": selector, "topologyKey": key, **spaces},
    st.sampled_from(SELECTORS),
    st.sampled_from([ZONE, HOST, "disk"]),
    st.sampled_from(
        [
            {},
            {},
            {"namespaces": ["other"]},
            {"namespaceSelector": {"matchLabels": {"team": "b"}}},
            {"namespaceSelector": {}},
        ]
    ),
)
WEIGHTED = st.builds(lambda term, weight: {"podAffinityTerm": term, "weight": weight}, TERMS, st.integers(1, 100))
COMPANY = st.fixed_dictionaries(
    {}, optional={REQUIRED: st.lists(TERMS, max_size=2), PREFERRED: st.lists(WEIGHTED, max_size=2)}
)
EXPRESSIONS = st.sampled_from(
    [
        {"key": "disk", "operator": "In", "values": ["1"]}, {"key": "disk", "operator": "NotIn", "values": ["1"]},
        {"key": "disk", "operator": "Gt", "values": ["1"]}, {"key": "disk", "operator": "Lt", "values": ["2"]},
        {"key": ZONE, "operator": "Exists"}, {"key": ZONE, "operator": "DoesNotExist"},
        {"key": ZONE, "operator": "In", "values": ["z1", "z9"]},
    ]
)  # fmt: skip
NODE_TERMS = st.one_of(
    st.builds(lambda items: {"matchExpressions": items}, st.lists(EXPRESSIONS, max_size=2)),
    st.just({"matchFields": [{"key": "metadata.name", "operator": "NotIn", "values": ["n0"]}]}),
)
NODE_AFFINITY = st.fixed_dictionaries(
    {},
    optional={
        REQUIRED: st.builds(lambda terms: {"nodeSelectorTerms": terms}, st.lists(NODE_TERMS, min_size=1, max_size=2)),
        PREFERRED: st.lists(
            st.builds(lambda term, weight: {"preference": term, "weight": weight}, NODE_TERMS, st.integers(1, 100)),
            max_size=2,
        ),
    },
)
SPREAD = st.builds(
    lambda skew, key, when, selector, extra: {
        "maxSkew": skew, "topologyKey": key, "whenUnsatisfiable": when, "labelSelector": selector, **extra,
    },
    st.integers(1, 2),
    st.sampled_from([ZONE, HOST]),
    st.sampled_from(["DoNotSchedule", "ScheduleAnyway"]),
    st.sampled_from(SELECTORS),
    st.sampled_from([{}, {"nodeTaintsPolicy": "Honor"}, {"nodeAffinityPolicy": "Ignore"}, {"minDomains": 3}]),
)  # fmt: skip
PODS = st.builds(
    lambda affinity, **spec: {**spec, **({"affinity": affinity} if affinity else {})},
    cpu=st.sampled_from(["", "100m", "1"]),
    memory=st.sampled_from(["", "512Mi"]),
    namespace=st.sampled_from(["default", "other"]),
    labels=POD_LABELS,
    tolerations=st.lists(st.sampled_from(TOLERATIONS), max_size=2),
    nodeSelector=st.sampled_from([{}, {}, {"disk": "1"}]),
    ports=st.sampled_from(
        [[], [], [{"containerPort": 80, "hostPort": 80}], [{"hostPort": 80, "hostIP": "10.0.0.1"}]]
    ),
    topologySpreadConstraints=st.lists(SPREAD, max_size=2),
    affinity=st.fixed_dictionaries(
        {}, optional={"podAffinity": COMPANY, "podAntiAffinity": COMPANY, "nodeAffinity": NODE_AFFINITY}
    ),
)
DEFAULT = selectors.from_labels({"app": "a"})


def compared(snapshot: Snapshot, model: Model, wanted: JsonObject) -> None:
    profile = default_profile(lambda _pod: DEFAULT)
    info = PodInfo.of(wanted)
    left, ruled_out = cycle.feasible(info, snapshot, profile)
    rows = np.flatnonzero(left)
    names = [snapshot.names[row] for row in rows]
    assert set(names) == model.feasible(wanted)
    for place, failed in ruled_out:
        reasons = profile.filters[place].explain(info, snapshot, failed)
        explained = {int(row) for _, rows in reasons for row in rows}
        assert explained == {int(row) for row in failed}, "every node that was ruled out has a reason"
    if len(names) < 2:
        return
    total = np.zeros(len(rows), np.int64)
    for plugin in profile.scores:
        scores = plugin.score(info, snapshot, rows)
        if scores is not None:
            assert scores.min() >= 0 and scores.max() <= 100, plugin.name
            total += scores * plugin.weight
    found = dict(zip(names, total.tolist(), strict=True))
    expected = model.scores(wanted, names, DEFAULT)
    # The constant parts of a rule that does not concern the pod may be left out.
    assert len({found[name] - expected[name] for name in names}) == 1, (found, expected)
    decision = cycle.decide(info, snapshot, profile, SeededRng(1))
    assert isinstance(decision, cycle.Placement)
    assert expected[decision.node_name] == max(expected.values())


@settings(max_examples=300, deadline=None)
@given(
    st.lists(NODES, min_size=1, max_size=5), st.lists(st.tuples(PODS, st.integers(0, 5)), max_size=8), PODS, st.data()
)
def test_rules_agree_with_the_model(
    nodes: list[dict[str, Any]], placed: list[tuple[dict[str, Any], int]], wanted: dict[str, Any], data: Any
) -> None:
    made = [node(f"n{number}", **options) for number, options in enumerate(nodes)]
    holders = [(pod(f"p{number}", **options), f"n{place}") for number, (options, place) in enumerate(placed)]
    for holder, _ in holders[:1]:
        holder["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    snapshot = Snapshot()
    for name, labels in SPACES.items():
        snapshot.put_namespace(name, labels)
    steps: list[Any] = [*made, *holders]
    for step in data.draw(st.permutations(steps)):
        if isinstance(step, tuple):
            snapshot.put_pod(PodInfo.of(step[0]), step[1])
        else:
            snapshot.put_node(step)
    model = Model(made, holders, SPACES)
    new = pod("new", **wanted)
    compared(snapshot, model, new)
    # And again after things went and came: columns are kept up, not made anew.
    if holders:
        gone, _ = holders.pop(0)
        assert snapshot.remove_pod(meta.uid(gone))
        compared(snapshot, model, new)
    if len(made) > 1:
        name = meta.name(made[-1])
        snapshot.remove_node(name)
        del model.nodes[name]
        compared(snapshot, model, new)
        changed = node(name, cpu="4", labels={ZONE: "z1"})
        snapshot.put_node(changed)
        model.nodes[name] = changed
        compared(snapshot, model, new)


def said(pod_: JsonObject, nodes: list[JsonObject], placed: list[tuple[JsonObject, str]] | None = None) -> str:
    snapshot = Snapshot()
    for item in nodes:
        snapshot.put_node(item)
    for other, name in placed or []:
        snapshot.put_pod(PodInfo.of(other), name)
    decision = cycle.decide(PodInfo.of(pod_), snapshot, default_profile(), SeededRng(1))
    assert isinstance(decision, cycle.Misfit), decision
    return decision.message()


def test_messages() -> None:
    spread = {"maxSkew": 1, "topologyKey": ZONE, "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {}}
    shun = {"podAntiAffinity": {REQUIRED: [{"labelSelector": {"matchLabels": {"app": "a"}}, "topologyKey": HOST}]}}
    want = {"podAffinity": {REQUIRED: [{"labelSelector": {"matchLabels": {"app": "a"}}, "topologyKey": HOST}]}}
    one = [node("n", cpu="1", memory="1Gi", pods=1)]
    other = (pod("other", labels={"app": "a"}), "n")
    prefix = "0/1 nodes are available: 1 "
    assert said(pod("p", "2"), one) == prefix + "Insufficient cpu."
    assert said(pod("p", "2", "2Gi"), one) == prefix + "Insufficient cpu, 1 Insufficient memory."
    assert said(pod("p", extra={"x.io/gpu": "1"}), one) == prefix + "Insufficient x.io/gpu."
    assert said(pod("p"), one, [other]) == prefix + "Too many pods."
    assert (
        said(pod("p", nodeSelector={"a": "b"}), one) == prefix + "node(s) didn't match Pod's node affinity/selector."
    )
    assert said(pod("p", topologySpreadConstraints=[spread]), one) == (
        prefix + "node(s) didn't match pod topology spread constraints (missing required label)."
    )
    roomy = [node("n")]
    claim = [{"containerPort": 80, "hostPort": 80}]
    assert said(pod("p", ports=claim), roomy, [(pod("q", ports=claim), "n")]) == (
        prefix + "node(s) didn't have free ports for the requested pod ports."
    )
    assert said(pod("p", affinity=shun), roomy, [other]) == prefix + "node(s) didn't match pod anti-affinity rules."
    assert said(pod("p", affinity=want), roomy) == prefix + "node(s) didn't match pod affinity rules."
    assert said(pod("p", labels={"app": "a"}), roomy, [(pod("q", affinity=shun), "n")]) == (
        prefix + "node(s) didn't satisfy existing pods anti-affinity rules."
    )
    assert said(pod("p"), [node("n", unschedulable=True)]) == prefix + "node(s) were unschedulable."
    assert said(pod("p"), [node("a", unschedulable=True), node("b", taints=[TAINTS[0]])]) == (
        "0/2 nodes are available: 1 node(s) had untolerated taint(s), 1 node(s) were unschedulable."
    )


def test_images_draw_pods() -> None:
    big = {"names": ["app:2"], "sizeBytes": 900 << 20}
    snapshot = Snapshot()
    for number in range(3):
        snapshot.put_node(node(f"n{number}", images=[big] if number == 1 else []))
    info = PodInfo.of(pod("p", image="app:2"))
    decision = cycle.decide(info, snapshot, default_profile(), SeededRng(1))
    assert isinstance(decision, cycle.Placement)
    assert decision.node_name == "n1"
    assert decision.scores["ImageLocality"] > 0


def test_ties_are_broken_by_chance_alone() -> None:
    snapshot = Snapshot()
    for number in range(4):
        snapshot.put_node(node(f"n{number}"))
    profile, info = default_profile(), PodInfo.of(pod("p"))

    def runs(seed: int) -> list[str]:
        rng = SeededRng(seed)
        found = [cycle.decide(info, snapshot, profile, rng) for _ in range(40)]
        return [decision.node_name for decision in found if isinstance(decision, cycle.Placement)]

    assert runs(1) == runs(1)
    assert set(runs(1)) == {"n0", "n1", "n2", "n3"}


def test_rows_are_reused_and_columns_grow() -> None:
    snapshot = Snapshot()
    for number in range(200):
        snapshot.put_node(node(f"n{number}", labels={ZONE: f"z{number % 3}"}))
    assert snapshot.labels.count(ZONE) == 3
    for number in range(100):
        snapshot.remove_node(f"n{number}")
    for number in range(200, 300):
        snapshot.put_node(node(f"n{number}", cpu="8"))
    assert len(snapshot) == 200
    assert len(snapshot.names) == 200
    assert int(snapshot.alive.sum()) == 200
    assert int((snapshot.allocatable("cpu") == 8000).sum()) == 100
    assert int((snapshot.labels.ids(ZONE) >= 0).sum()) == 100


def test_one_node_asked_by_its_agent() -> None:
    small = node("n", cpu="1", pods=2, labels={"disk": "1"}, taints=[TAINTS[1]])
    claim = [{"containerPort": 80, "hostPort": 80}]
    wanted = pod("p", "2", nodeSelector={"disk": "2"}, ports=claim)
    assert fit.reasons(wanted, small, [pod("q", ports=claim), pod("r")]) == [
        fit.NODE_AFFINITY,
        "node(s) had untolerated taint(s)",
        fit.NODE_PORTS,
        "Too many pods",
        "Insufficient cpu",
    ]
    assert fit.reasons(pod("p", tolerations=[{"operator": "Exists"}]), small, []) == []


def chosen(pod_: JsonObject, nodes: list[JsonObject], placed: list[tuple[JsonObject, str]]) -> str:
    snapshot = Snapshot()
    for item in nodes:
        snapshot.put_node(item)
    for other, name in placed:
        snapshot.put_pod(PodInfo.of(other), name)
    decision = cycle.decide(PodInfo.of(pod_), snapshot, default_profile(), SeededRng(1))
    return decision.node_name if isinstance(decision, cycle.Placement) else decision.message()


def test_a_zone_that_taints_close_counts_only_when_asked() -> None:
    """Zone z2 is empty but closed: by default it keeps the least count at 0, so that z1 is overfull."""
    nodes = [node("a", labels={ZONE: "z1"}), node("b", labels={ZONE: "z2"}, taints=[TAINTS[0]])]
    placed = [(pod("q", labels={"app": "a"}), "a")]
    rule = {"maxSkew": 1, "topologyKey": ZONE, "whenUnsatisfiable": "DoNotSchedule", "labelSelector": SELECTORS[1]}
    assert "spread" in chosen(pod("p", labels={"app": "a"}, topologySpreadConstraints=[rule]), nodes, placed)
    honoured = {**rule, "nodeTaintsPolicy": "Honor"}
    assert chosen(pod("p", labels={"app": "a"}, topologySpreadConstraints=[honoured]), nodes, placed) == "a"


def test_pods_that_are_leaving_do_not_count_for_spread() -> None:
    leaving = pod("q", labels={"app": "a"})
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    placed = [(leaving, "a"), (pod("r", labels={"app": "a"}), "b")]
    for action in ("DoNotSchedule", "ScheduleAnyway"):
        rule = {"maxSkew": 1, "topologyKey": HOST, "whenUnsatisfiable": action, "labelSelector": SELECTORS[1]}
        wanted = pod("p", labels={"app": "a"}, topologySpreadConstraints=[rule])
        assert chosen(wanted, [node("a"), node("b")], placed) == "a"
