"""EndpointSlices and Endpoints follow services and pods."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from argosy.objects import meta
from argosy.objects.types import JsonObject
from control_plane.controllers import endpoints, endpointslice, slice_plan
from control_plane.controllers.service_pods import Port
from tests.unit.controllers.world import World, pod, ready_status, run

NAMES = ("endpointslice-controller", "endpoints-controller")


def service(name: str = "web", **spec: Any) -> JsonObject:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "default", "labels": {"team": "a"}},
        "spec": {
            "selector": {"app": "web"}, "ports": [{"name": "http", "port": 80, "targetPort": "http"}],
            "clusterIP": "10.96.0.7", "ipFamilies": ["IPv4"], **spec,
        },
    }  # fmt: skip


def controllers(world: World, *names: str) -> None:
    """Beside the node that all pods here run on."""
    if world.api.one("nodes", "node-1") is None:
        world.api.put("nodes", {"kind": "Node", "metadata": {"name": "node-1"}})
    world.controllers(*(names or NAMES))


def web_pod(world: World, name: str, ip: str, *, ready: bool = True, port: int = 8080, **parts: Any) -> JsonObject:
    containers = [{"name": "app", "image": "i", "ports": [{"name": "http", "containerPort": port}]}]
    status = ready_status(world.host, ip, ready)
    return pod(name, node="node-1", spec={"containers": containers, **parts.pop("spec", {})}, **status, **parts)


def shown(world: World) -> dict[str, tuple[bool, bool, bool]]:
    """Address to (ready, serving, terminating), over all slices; no address may be there twice."""
    result: dict[str, tuple[bool, bool, bool]] = {}
    for each in world.api.all("endpointslices"):
        for item in each["endpoints"]:
            [address] = item["addresses"]
            assert address not in result
            facts = item["conditions"]
            result[address] = (facts["ready"], facts["serving"], facts["terminating"])
    return result


def test_a_service_gets_its_pods_in_both_forms() -> None:
    async def body(world: World) -> None:
        zone = {"topology.kubernetes.io/zone": "z1"}
        world.api.put("nodes", {"kind": "Node", "metadata": {"name": "node-1", "labels": zone}})
        controllers(world)
        world.api.put("services", service())
        world.api.put("pods", web_pod(world, "a", "10.244.0.1"))
        world.api.put("pods", web_pod(world, "b", "10.244.0.2", ready=False))
        world.api.put("pods", pod("c", labels={"app": "other"}, **ready_status(world.host, "10.244.0.3")))
        await world.settle()
        [slice_] = world.api.all("endpointslices")
        assert slice_["addressType"] == "IPv4"
        assert slice_["ports"] == [{"name": "http", "port": 8080, "protocol": "TCP"}]
        assert meta.labels(slice_) == {
            "team": "a", "kubernetes.io/service-name": "web",
            "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
        }  # fmt: skip
        owner = meta.controller_of(slice_)
        assert owner is not None and owner["kind"] == "Service"
        assert slice_["endpoints"][0] | {"targetRef": None} == {
            "addresses": ["10.244.0.1"], "conditions": {"ready": True, "serving": True, "terminating": False},
            "nodeName": "node-1", "zone": "z1", "targetRef": None,
        }  # fmt: skip
        assert shown(world) == {"10.244.0.1": (True, True, False), "10.244.0.2": (False, False, False)}
        old = world.api.one("endpoints", "default/web")
        assert old is not None
        [subset] = old["subsets"]
        assert [item["ip"] for item in subset["addresses"]] == ["10.244.0.1"]
        assert [item["ip"] for item in subset["notReadyAddresses"]] == ["10.244.0.2"]
        assert subset["ports"] == [{"name": "http", "port": 8080, "protocol": "TCP"}]

    run(body)


def test_changes_of_pods_follow() -> None:
    async def body(world: World) -> None:
        controllers(world)
        world.api.put("services", service())
        world.api.put("pods", web_pod(world, "a", "10.244.0.1"))
        await world.settle()
        world.api.change("pods", "default/a", ready_status(world.host, "10.244.0.1", ready=False))
        await world.settle()
        assert shown(world) == {"10.244.0.1": (False, False, False)}
        world.api.change("pods", "default/a", ready_status(world.host, "10.244.0.1"))
        await world.client.resource("", "v1", "pods").delete("a", namespace="default")
        await world.settle()
        assert shown(world) == {"10.244.0.1": (False, True, True)}
        old = world.api.one("endpoints", "default/web")
        assert old is not None and old["subsets"] == []
        world.api.remove("pods", "default/a")
        await world.settle()
        assert shown(world) == {}
        assert len(world.api.all("endpointslices")) == 1
        world.api.put("pods", web_pod(world, "b", "10.244.0.2"))
        await world.settle()
        world.api.change("pods", "default/b", {"metadata": {"labels": {"app": "debug"}}})
        await world.settle()
        assert shown(world) == {}
        world.api.remove("services", "default/web")
        await world.settle()
        assert world.api.all("endpoints") == []

    run(body)


def test_pods_of_a_node_that_was_removed_get_no_traffic_though_nobody_deleted_them_yet() -> None:
    async def body(world: World) -> None:
        controllers(world, "endpointslice-controller")
        world.api.put("nodes", {"kind": "Node", "metadata": {"name": "node-2"}})
        world.api.put("services", service())
        world.api.put("pods", web_pod(world, "a", "10.244.0.1"))
        there = web_pod(world, "b", "10.244.1.1")
        world.api.put("pods", {**there, "spec": {**there["spec"], "nodeName": "node-2"}})
        await world.settle()
        assert set(shown(world)) == {"10.244.0.1", "10.244.1.1"}
        world.api.remove("nodes", "node-2")
        await world.settle()
        assert shown(world) == {"10.244.0.1": (True, True, False)}
        world.api.put("nodes", {"kind": "Node", "metadata": {"name": "node-2"}})
        await world.settle()
        assert set(shown(world)) == {"10.244.0.1", "10.244.1.1"}

    run(body)


def test_unready_addresses_are_published_on_request_and_hostnames_under_a_headless_service() -> None:
    async def body(world: World) -> None:
        controllers(world)
        world.api.put("services", service(clusterIP="None", publishNotReadyAddresses=True, ports=[]))
        names = {"hostname": "db-0", "subdomain": "web"}
        world.api.put("pods", web_pod(world, "a", "10.244.0.1", ready=False, spec=names))
        await world.settle()
        [slice_] = world.api.all("endpointslices")
        assert slice_["endpoints"][0]["hostname"] == "db-0"
        assert meta.labels(slice_)["service.kubernetes.io/headless"] == ""
        assert shown(world) == {"10.244.0.1": (True, False, False)}
        old = world.api.one("endpoints", "default/web")
        assert old is not None and old["subsets"][0]["addresses"][0]["hostname"] == "db-0"

    run(body)


def test_pods_with_other_ports_get_slices_of_their_own() -> None:
    async def body(world: World) -> None:
        controllers(world)
        world.api.put("services", service())
        world.api.put("pods", web_pod(world, "a", "10.244.0.1", port=8080))
        world.api.put("pods", web_pod(world, "b", "10.244.0.2", port=9090))
        await world.settle()
        ports = sorted(each["ports"][0]["port"] for each in world.api.all("endpointslices"))
        assert ports == [8080, 9090]
        old = world.api.one("endpoints", "default/web")
        assert old is not None
        assert sorted(each["ports"][0]["port"] for each in old["subsets"]) == [8080, 9090]

    run(body)


def test_dual_stack_and_a_family_that_is_given_up() -> None:
    async def body(world: World) -> None:
        controllers(world)
        world.api.put("services", service(ipFamilies=["IPv4", "IPv6"]))
        made = web_pod(world, "a", "10.244.0.1")
        made["status"]["podIPs"] = [{"ip": "10.244.0.1"}, {"ip": "fd00::1"}]
        world.api.put("pods", made)
        await world.settle()
        assert sorted(each["addressType"] for each in world.api.all("endpointslices")) == ["IPv4", "IPv6"]
        assert sorted(shown(world)) == ["10.244.0.1", "fd00::1"]
        world.api.change("services", "default/web", {"spec": {"ipFamilies": ["IPv4"]}})
        await world.settle()
        assert sorted(shown(world)) == ["10.244.0.1"]

    run(body)


def test_no_selector_no_endpoints_and_labels_follow_the_service() -> None:
    async def body(world: World) -> None:
        controllers(world)
        world.api.put("services", service("bare", selector=None))
        world.api.put("services", service("outside", type="ExternalName"))
        world.api.put("services", service())
        await world.settle()
        assert [meta.labels(each)["kubernetes.io/service-name"] for each in world.api.all("endpointslices")] == [
            "web"
        ]
        world.api.change("services", "default/web", {"metadata": {"labels": {"team": "b"}}})
        await world.settle()
        [slice_] = world.api.all("endpointslices")
        assert meta.labels(slice_)["team"] == "b"

    run(body)


def test_one_changed_pod_changes_one_slice_and_nothing_else_makes_writes() -> None:
    async def body(world: World) -> None:
        world.api.put("nodes", {"kind": "Node", "metadata": {"name": "node-1"}})
        world.controllers("endpointslice-controller", max_endpoints_per_slice=10)
        world.api.put("services", service())
        for number in range(25):
            world.api.put("pods", web_pod(world, f"p{number}", f"10.244.0.{number + 1}"))
        await world.settle(10)
        assert len(shown(world)) == 25
        before = {meta.name(each): meta.resource_version(each) for each in world.api.all("endpointslices")}
        world.api.change("pods", "default/p7", ready_status(world.host, "10.244.0.8", ready=False))
        await world.settle()
        after = {meta.name(each): meta.resource_version(each) for each in world.api.all("endpointslices")}
        assert before.keys() == after.keys()
        assert sum(before[name] != after[name] for name in before) == 1
        revision = world.api.revision
        world.api.change("pods", "default/p7", {"metadata": {"annotations": {"a": "b"}}})
        await world.settle()
        assert world.api.revision == revision + 1

    run(body)


def test_more_addresses_than_endpoints_hold() -> None:
    ready = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    pods = []
    for number in range(1005):
        each = pod(f"p{number}", **({} if number % 2 else {"status": dict(ready["status"])}))
        each["status"] = {**each.get("status", {}), "podIP": f"10.{number // 256}.{number % 256}.1"}
        pods.append(each)
    built = endpoints.build(service(ports=[{"port": 80}]), pods)
    [subset] = built["subsets"]
    assert len(subset["addresses"]) == 503
    assert len(subset["addresses"]) + len(subset["notReadyAddresses"]) == 1000
    assert meta.annotations(built) == {endpoints.OVER_CAPACITY: "truncated"}


PORTS = (Port("http", 80, "TCP"),)
OTHER = (Port("http", 81, "TCP"),)


def entry(uid: int, ready: bool) -> JsonObject:
    return {"addresses": [f"10.0.0.{uid}"], "conditions": {"ready": ready}, "targetRef": {"uid": str(uid)}}


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.dictionaries(st.integers(1, 30), st.tuples(st.booleans(), st.booleans())), min_size=1, max_size=6),
    st.integers(1, 7),
)
def test_slices_show_exactly_what_is_wanted_after_any_changes(
    steps: list[dict[int, tuple[bool, bool]]], most: int
) -> None:
    slices: dict[str, JsonObject] = {}
    count = 0
    for step in steps:
        wanted: dict[slice_plan.Ports, dict[str, JsonObject]] = {}
        for uid, (ready, other) in step.items():
            wanted.setdefault(OTHER if other else PORTS, {})[str(uid)] = entry(uid, ready)
        plan = slice_plan.plan(list(slices.values()), wanted, "IPv4", most)
        for each in plan.update:
            assert slices[meta.name(each)] != each
            slices[meta.name(each)] = each
        for each in plan.delete:
            del slices[meta.name(each)]
        for each in plan.create:
            count += 1
            slices[str(count)] = {**each, "metadata": {"name": str(count)}}
        found: dict[tuple[Any, str], JsonObject] = {}
        for each in slices.values():
            assert len(each["endpoints"]) <= most
            for item in each["endpoints"]:
                key = (slice_plan.ports_of(each), slice_plan.uid_of(item))
                assert key not in found
                found[key] = item
        assert found == {(ports, uid): item for ports, items in wanted.items() for uid, item in items.items()}
        assert slices
        again = slice_plan.plan(list(slices.values()), wanted, "IPv4", most)
        assert not (again.create or again.update or again.delete)


def test_labels_that_the_controller_owns_are_not_the_services() -> None:
    made = service()
    made["metadata"]["labels"] = {endpointslice.SERVICE_LABEL: "evil", "a": "b"}
    assert endpointslice.slice_labels(made)[endpointslice.SERVICE_LABEL] == "web"
