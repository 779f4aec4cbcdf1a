"""Node groups of a machine: the wire that the autoscaler dials, what a configuration keeps, and what flags say."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from argosy.cli.node_groups import node_group, node_groups
from argosy.host import SeededRng, real_host
from argosy.rpc import Call, Code, GrpcNetwork, RpcError
from argosy.rpc_memory import MemoryNetwork
from control_plane.autoscaler.nodes.provider import ErrorClass, ProviderError, State, impossible, read
from control_plane.autoscaler.nodes.wire import WireProvider
from deploy import amend, certificates, cluster, departures, launch
from deploy.cluster import ClusterConfig, NodeConfig, NodeGroupConfig
from deploy.departures import Departures
from deploy.layout import Layout
from deploy.network import place_of
from deploy.node_groups import LocalNodeGroups, template
from deploy.node_groups_service import methods
from deploy.unit import State as UnitState

SMALL = NodeGroupConfig("small", 1, 3, 2, 1 << 30, ("pool=small",), ("dedicated=x:NoSchedule",))


class Folders(Layout):
    """A cluster's files below a folder of the test."""

    root = ""

    @property
    def state(self) -> str:
        return f"{self.root}/state"

    @property
    def run(self) -> str:
        return f"{self.root}/run"


class Site:
    """Node groups without nodes: `units` are as the test says."""

    def __init__(self, layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
        self.layout = layout
        self.units: dict[str, Any] = {}
        self.reloads = 0
        self.deleted: list[str] = []
        self.cleared: list[str] = []
        self.cgroup_empty = [True]
        """What tries to remove a node's control group give; the last one stays."""
        self.departures = Departures(layout, self._reload, self.cleared.append)
        monkeypatch.setattr(launch, "prepare", cluster.save)
        monkeypatch.setattr(launch, "load_images", lambda *_: [])
        monkeypatch.setattr(departures.bring_up, "client", lambda *_: SimpleNamespace(close=self._nothing))
        monkeypatch.setattr(departures.bring_up, "delete_node", self._delete)
        monkeypatch.setattr(departures.cgroups, "remove", self._remove_cgroup)
        monkeypatch.setattr(departures.disks, "release", lambda *_: None)
        monkeypatch.setattr(departures, "RETRY_S", 0.01)

    async def _nothing(self) -> None:
        return None

    async def _delete(self, _api: object, name: str) -> None:
        self.deleted.append(name)

    def _remove_cgroup(self, _group: str) -> bool:
        return self.cgroup_empty.pop(0) if len(self.cgroup_empty) > 1 else self.cgroup_empty[0]

    async def _reload(self) -> None:
        self.reloads += 1
        self.departures.attend(self.config())

    def config(self) -> ClusterConfig:
        found = cluster.load(self.layout)
        assert found is not None
        return found

    def nodes(self) -> list[NodeConfig]:
        return list(self.config().nodes)

    def run(self, body: Callable[[WireProvider, LocalNodeGroups], Awaitable[None]]) -> None:
        async def main() -> None:
            groups = LocalNodeGroups(self.layout, self.units, self._reload)
            network = MemoryNetwork(SeededRng(1), latency_s=0.0)
            await network.host("machine").serve("machine:1", methods(groups))
            provider = WireProvider(network.host("autoscaler"), "machine:1")
            try:
                await body(provider, groups)
            finally:
                await provider.close()
                await groups.close()
                await self.departures.close()

        asyncio.run(main())


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(Folders, "root", str(tmp_path))
    layout = Folders("demo")
    os.makedirs(layout.run)
    own = NodeConfig("node-1", 1, 1, 1 << 30)
    cluster.save(ClusterConfig("demo", nodes=(own,), node_groups=(SMALL,)), layout)
    yield Site(layout, monkeypatch)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


def test_nodes_are_asked_for_and_given_back_over_the_wire(site: Site) -> None:
    async def body(provider: WireProvider, _groups: LocalNodeGroups) -> None:
        offer = await read(provider)
        assert offer.problems == {}
        assert (offer.groups["small"].min_size, offer.groups["small"].target_size) == (1, 0)
        await provider.increase("small", 2)
        made = [item for item in site.nodes() if item.group == "small"]
        assert len(made) == 2
        assert {item.number for item in made} == {2, 3}
        assert made[0].labels == ("pool=small", "argosy.dev/node-group=small")
        assert made[0].taints == ("dedicated=x:NoSchedule",)
        found = await provider.instances("small")
        assert [item.state for item in found] == [State.CREATING, State.CREATING]
        for item in made:
            site.units[item.name] = SimpleNamespace(state=UnitState.RUNNING, restarts=0, exit="")
        offer = await read(provider)
        assert offer.groups["small"].target_size == 2
        assert [item.state for item in offer.instances["small"]] == [State.RUNNING, State.RUNNING]

        await provider.delete_nodes("small", [made[0].name])
        await until(lambda: len(site.nodes()) == 2)
        assert site.deleted == [made[0].name]
        assert (await read(provider)).groups["small"].target_size == 1

    site.run(body)


def test_bounds_and_names_are_kept(site: Site) -> None:
    async def body(provider: WireProvider, _groups: LocalNodeGroups) -> None:
        with pytest.raises(ProviderError, match="size increase too large, desired: 4 max: 3"):
            await provider.increase("small", 4)
        with pytest.raises(ProviderError, match="must be positive"):
            await provider.increase("small", -1)
        with pytest.raises(ProviderError, match="no node group"):
            await provider.increase("large", 1)
        with pytest.raises(ProviderError, match="node-1 is no node of group small"):
            await provider.delete_nodes("small", ["node-1"])
        with pytest.raises(ProviderError, match="none of 1 can be taken back"):
            await provider.decrease_target("small", 1)
        await provider.increase("small", 1)
        name = site.nodes()[-1].name
        site.units[name] = SimpleNamespace(state=UnitState.RUNNING, restarts=0, exit="")
        with pytest.raises(ProviderError, match="min size reached"):
            await provider.delete_nodes("small", [name])
        assert [item.leaving for item in site.nodes()] == [False, False]

    site.run(body)


def test_a_node_that_cannot_be_started_is_told_and_can_be_given_up(site: Site) -> None:
    async def body(provider: WireProvider, _groups: LocalNodeGroups) -> None:
        await provider.increase("small", 1)
        name = site.nodes()[-1].name
        site.units[name] = SimpleNamespace(state=UnitState.WAITING, restarts=3, exit="not started: no memory")
        (found,) = await provider.instances("small")
        assert found.error_class is ErrorClass.OTHER
        assert (found.error_code, found.error_message) == ("NotStarted", "not started: no memory")
        await provider.delete_nodes("small", [name])
        await until(lambda: len(site.nodes()) == 1)

    site.run(body)


def test_a_removal_that_was_begun_is_gone_on_with(site: Site) -> None:
    leaving = NodeConfig("node-small-x", 2, 1, 1 << 30, group="small", leaving=True)
    cluster.save(site.config().with_node(leaving), site.layout)
    assert not site.nodes()[-1].is_wanted

    async def body(provider: WireProvider, _groups: LocalNodeGroups) -> None:
        (found,) = await provider.instances("small")
        assert found.state is State.DELETING
        site.departures.attend(site.config())
        await until(lambda: len(site.nodes()) == 1)
        assert site.deleted == ["node-small-x"]
        assert site.cleared == ["node-small-x"], "its network too, though nobody saw it end"

    site.run(body)


def test_a_node_is_forgotten_only_once_nothing_of_it_is_left(site: Site) -> None:
    site.cgroup_empty = [False, False, True]
    leaving = NodeConfig("node-small-x", 2, 1, 1 << 30, group="small", leaving=True)
    cluster.save(site.config().with_node(leaving), site.layout)
    controls = Path(site.layout.controls("node-small-x") + ".ctl")
    controls.parent.mkdir()
    controls.touch()

    async def body(_provider: WireProvider, _groups: LocalNodeGroups) -> None:
        site.departures.attend(site.config())
        await until(lambda: site.deleted != [])
        assert site.cgroup_empty == [True], "its last process had ended"
        await until(lambda: len(site.nodes()) == 1)
        assert site.deleted == ["node-small-x"]
        assert not controls.exists()

    site.run(body)


def test_what_changes_the_cluster_makes_no_folder_for_a_node_that_leaves(site: Site) -> None:
    """Its own may just have been removed."""
    leaving = NodeConfig("node-small-x", 2, 1, 1 << 30, group="small", leaving=True)
    config = site.config().with_node(leaving)
    certificates.ensure(site.layout, config, place_of(site.layout, config), real_host())
    assert os.listdir(f"{site.layout.state}/nodes") == ["node-1"]


def test_a_command_that_changes_the_cluster_goes_first(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(amend, "LOCK_TIMEOUT_S", 0.1)

    async def body(provider: WireProvider, _groups: LocalNodeGroups) -> None:
        with launch.changing(site.layout), pytest.raises(ProviderError, match="is changing the cluster") as caught:
            await provider.increase("small", 1)
        assert caught.value.busy
        assert len(site.nodes()) == 1

    site.run(body)


def test_who_is_away_is_busy_and_what_is_no_message_is_refused(tmp_path: Path, site: Site) -> None:
    async def body(_provider: WireProvider, groups: LocalNodeGroups) -> None:
        away = WireProvider(GrpcNetwork(), f"unix:{tmp_path}/nobody.sock")
        with pytest.raises(ProviderError) as caught:
            await read(away)
        assert caught.value.busy
        await away.close()
        handler = methods(groups).unary["/argosy.v1.NodeGroups/Increase"]
        with pytest.raises(RpcError) as refused:
            await handler(b"\xff\xff", Call("x"))
        assert refused.value.code is Code.INVALID_ARGUMENT

    site.run(body)


def test_a_template_is_what_a_node_registers_as() -> None:
    made = template(SMALL)
    assert made["spec"]["taints"] == [{"key": "dedicated", "value": "x", "effect": "NoSchedule"}]
    assert made["metadata"]["labels"]["pool"] == "small"
    assert made["status"]["allocatable"]["cpu"] == "2"
    assert made["status"]["allocatable"]["memory"] == "1Gi"


def test_a_configuration_keeps_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Folders, "root", str(tmp_path))
    layout = Folders("demo")
    node = NodeConfig("node-small-x", 2, 1, 1 << 30, group="small", labels=("a=b",), taints=("k=v:NoExecute",))
    config = ClusterConfig("demo", nodes=(node,), node_groups=(SMALL, replace(SMALL, name="other")))
    cluster.save(config, layout)
    assert cluster.load(layout) == config


def test_the_flag() -> None:
    made = node_group("gpu=0:5,cpus=2,memory=1Gi,labels=a=b;x.io/c=d,taints=k=v:NoSchedule;t:NoExecute", 1)
    expected = NodeGroupConfig("gpu", 0, 5, 2.0, 1 << 30, ("a=b", "x.io/c=d"), ("k=v:NoSchedule", "t:NoExecute"))
    assert made == expected
    assert impossible_of(made) == ""
    with pytest.raises(ValueError, match="another group"):
        node_groups(["a=0:1", "a=0:2"], 1)


def impossible_of(config: NodeGroupConfig) -> str:
    from control_plane.autoscaler.nodes.provider import Group

    return impossible(Group(config.name, config.min_size, config.max_size, 0, template(config)))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("small", "NAME=MIN:MAX"),
        ("small=1", "NAME=MIN:MAX"),
        ("small=5:2", "MIN may not be above MAX"),
        ("small=0:0", "MAX is between"),
        ("small=0:9999", "MAX is between"),
        ("Small=0:1", "lower-case"),
        ("a-name-that-is-much-too-long=0:1", "20 characters"),
        ("small=0:1,disk=1Gi", "not one of"),
        ("small=0:1,cpus=many", "could not convert"),
        ("small=0:1,cpus=-1", "--node-cpus"),
        ("small=0:1,memory=1Mi", "128Mi at least"),
        ("small=0:1,labels=a", "KEY=VALUE"),
        ("small=0:1,labels=kubernetes.io/hostname=x", "may not give itself"),
        ("small=0:1,labels=a b=c", "label"),
        ("small=0:1,taints=k=v", "EFFECT"),
        ("small=0:1,taints=k=v:Never", "EFFECT"),
    ],
)
def test_flags_that_cannot_be(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        node_group(text, 1)
    assert f"--node-group {text}" in str(caught.value)
