"""The small controllers: pod networks of nodes, service accounts and their tokens, the published root CA."""

import base64
import ipaddress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from argosy.objects import meta, status
from argosy.objects.types import JsonObject
from control_plane.controllers.config import Config
from control_plane.controllers.node_ipam import CidrSet, cidrs
from tests.unit.controllers.world import World, run

IPAM = "node-ipam-controller"


def node(name: str, **spec: object) -> JsonObject:
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": spec}


def namespace(name: str) -> JsonObject:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}, "status": {"phase": "Active"}}


def networks(world: World) -> dict[str, list[str]]:
    return {meta.name(each): cidrs(each) for each in world.api.all("nodes")}


def test_each_node_gets_a_network_of_its_own_and_gives_it_back() -> None:
    async def body(world: World) -> None:
        world.api.put("nodes", node("old", podCIDR="10.244.1.0/24"))
        world.controllers(
            IPAM, cluster_cidr=("10.244.0.0/22", "fd00::/62"), service_cluster_ip_range=("10.244.2.0/24",)
        )
        for name in ("a", "b"):
            world.api.put("nodes", node(name))
        await world.settle()
        assert networks(world) == {
            "old": ["10.244.1.0/24"],
            "a": ["10.244.0.0/24", "fd00::/64"],
            "b": ["10.244.3.0/24", "fd00:0:0:1::/64"],
        }
        found = world.api.one("nodes", "a")
        assert found is not None and found["spec"]["podCIDR"] == "10.244.0.0/24"
        world.api.put("nodes", node("c"))
        await world.settle()
        assert networks(world)["c"] == []
        assert world.events("CIDRNotAvailable") == ["Node c status is now: CIDRNotAvailable"]
        world.api.remove("nodes", "old")
        await world.settle(3600)
        assert networks(world)["c"] == ["10.244.1.0/24", "fd00:0:0:2::/64"]

    run(body)


def test_a_stale_cache_gives_no_network_twice() -> None:
    """The new leader's cache shows a node before the old leader gave it its network."""

    async def body(world: World) -> None:
        manager = world.controllers(IPAM, cluster_cidr=("10.244.0.0/16",))
        await world.settle(0)
        world.api.put("nodes", node("a", podCIDR="10.244.0.0/24"))
        [controller] = manager.controllers
        controller._nodes._apply = lambda _obj: None  # type: ignore[attr-defined]
        await world.settle()
        controller._nodes._cache.put("b", world.api.put("nodes", node("b")))  # type: ignore[attr-defined]
        controller.queue.add("b")
        await world.settle()
        assert networks(world) == {"a": ["10.244.0.0/24"], "b": ["10.244.1.0/24"]}

    run(body)


def test_a_write_of_unknown_outcome_keeps_its_network_reserved() -> None:
    async def body(world: World) -> None:
        world.controllers(IPAM, cluster_cidr=("10.244.0.0/16",))
        world.api.fail = lambda verb, _resource, obj: (
            status.timeout("?") if verb == "patch" and meta.name(obj) == "a" else None
        )
        world.api.put("nodes", node("a"))
        await world.settle(1)
        world.api.put("nodes", node("b"))
        await world.settle(1)
        taken = networks(world)["b"]
        world.api.fail = lambda _verb, _resource, _obj: None
        await world.settle(60)
        assert networks(world)["a"] and networks(world)["a"] != taken

    run(body)


def test_bad_flags_are_refused_by_name() -> None:
    for options, flag in (
        ({"cluster_cidr": ("10.0.0.1/8",)}, "--cluster-cidr"),
        ({"cluster_cidr": ("10.0.0.0/25",)}, "--cluster-cidr"),
        ({"service_cluster_ip_range": ("x",)}, "--service-cluster-ip-range"),
        ({"pod_gc_period": 0.0}, "--pod-gc-period"),
        ({"cluster_signing_key": "k"}, "--cluster-signing-certificate"),
        ({"max_endpoints_per_slice": 0}, "--max-endpoints-per-slice"),
    ):
        with pytest.raises(ValueError, match=flag):
            Config(api_servers=("a",), **options).validate()  # type: ignore[arg-type]


def test_networks_that_cannot_be_shared_out_are_refused() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        CidrSet("10.0.0.0/25", 24)
    with pytest.raises(ValueError, match=r"10\.0\.0\.1"):
        CidrSet("10.0.0.1/16", 24)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["allocate", "release", "occupy"]), st.integers(0, 9)), max_size=60))
def test_no_share_is_held_twice(steps: list[tuple[str, int]]) -> None:
    shares = CidrSet("10.0.0.0/21", 24, ["10.0.3.128/25"])
    held: dict[str, list[object]] = {}
    for step, number in steps:
        holder = f"node-{number}"
        if step == "release":
            shares.release(holder)
            held.pop(holder, None)
        elif step == "occupy":
            wanted = ipaddress.ip_network(f"10.0.{number}.0/24")
            other = shares.occupy(wanted, holder)
            taken = [name for name, items in held.items() if wanted in items and name != holder]
            assert ([other] if other else []) == taken
            if not other and number < 8:
                held.setdefault(holder, []).append(wanted)
        else:
            share = shares.allocate(holder)
            all_held = [item for items in held.values() for item in items]
            if share is None:
                assert {str(item) for item in all_held} >= {f"10.0.{n}.0/24" for n in range(8) if n != 3}
            else:
                assert share not in all_held
                assert str(share) != "10.0.3.0/24"
                held.setdefault(holder, []).append(share)


def test_every_namespace_has_a_default_account_and_the_root_ca(tmp_path: Path) -> None:
    async def body(world: World) -> None:
        file = tmp_path / "ca.crt"
        file.write_text("PEM")
        world.controllers("serviceaccount-controller", "root-ca-certificate-publisher-controller", root_ca=str(file))
        for name in ("default", "prod"):
            world.api.put("namespaces", namespace(name))
        await world.settle()
        for name in ("default", "prod"):
            assert world.api.one("serviceaccounts", f"{name}/default") is not None
            published = world.api.one("configmaps", f"{name}/kube-root-ca.crt")
            assert published is not None and published["data"] == {"ca.crt": "PEM"}
        world.api.remove("serviceaccounts", "prod/default")
        world.api.change("configmaps", "prod/kube-root-ca.crt", {"data": {"ca.crt": "forged"}})
        world.api.remove("configmaps", "default/kube-root-ca.crt")
        await world.settle()
        assert world.api.one("serviceaccounts", "prod/default") is not None
        assert [each["data"] for each in world.api.all("configmaps")] == [{"ca.crt": "PEM"}] * 2
        world.api.change("namespaces", "prod", {"status": {"phase": "Terminating"}})
        world.api.remove("serviceaccounts", "prod/default")
        world.api.remove("configmaps", "prod/kube-root-ca.crt")
        await world.settle()
        assert world.api.one("serviceaccounts", "prod/default") is None
        assert world.api.one("configmaps", "prod/kube-root-ca.crt") is None

    run(body)


def test_token_secrets_are_filled_and_go_with_their_account(tmp_path: Path) -> None:
    async def body(world: World) -> None:
        file = tmp_path / "ca.crt"
        file.write_text("PEM")
        account = {"kind": "ServiceAccount", "metadata": {"name": "robot", "namespace": "default"}}
        uid = meta.uid(world.api.put("serviceaccounts", account))
        world.controllers("serviceaccount-token-controller", root_ca=str(file))
        annotations = {"kubernetes.io/service-account.name": "robot"}
        metadata = {"name": "robot-token", "namespace": "default", "annotations": annotations}
        kind = "kubernetes.io/service-account-token"
        world.api.put("secrets", {"kind": "Secret", "metadata": metadata, "type": kind})
        stale = {**metadata, "name": "stale"}
        stale["annotations"] = {**annotations, "kubernetes.io/service-account.uid": "another"}
        world.api.put("secrets", {"kind": "Secret", "metadata": stale, "type": kind})
        await world.settle()
        assert world.names("secrets") == ["robot-token"]
        secret = world.api.one("secrets", "default/robot-token")
        assert secret is not None
        assert {key: base64.b64decode(text) for key, text in secret["data"].items()} == {
            "token": b"t", "ca.crt": b"PEM", "namespace": b"default",
        }  # fmt: skip
        assert meta.annotations(secret)["kubernetes.io/service-account.uid"] == uid
        calls = [call for call in world.api.calls if call[3] == "token"]
        await world.settle(3000)
        assert len([call for call in world.api.calls if call[3] == "token"]) == len(calls) + 1
        world.api.remove("serviceaccounts", "default/robot")
        await world.settle()
        assert world.api.all("secrets") == []

    run(body)
