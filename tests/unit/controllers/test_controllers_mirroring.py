"""Endpoints that people write are mirrored to slices; endpoints tell when and for whom they are."""

from typing import Any

from argosy.host import rfc3339
from argosy.objects import meta
from argosy.objects.types import JsonObject
from control_plane.controllers import endpoints as endpoints_controller
from control_plane.controllers import endpointslice
from control_plane.controllers.endpointslice_mirroring import MANAGER, mirrored
from control_plane.controllers.trigger_times import ANNOTATION, TriggerTimes
from tests.unit.controllers.test_controllers_endpoints import controllers, service, shown, web_pod
from tests.unit.controllers.world import World, run

MIRRORING = "endpointslice-mirroring-controller"
EVERYTHING = (MIRRORING, "endpointslice-controller", "endpoints-controller")


def custom(*ips: str, port: int = 80, unready: tuple[str, ...] = (), **metadata: Any) -> JsonObject:
    subset: JsonObject = {"ports": [{"name": "http", "port": port, "protocol": "TCP"}]}
    subset |= {"addresses": [{"ip": ip} for ip in ips]} if ips else {}
    subset |= {"notReadyAddresses": [{"ip": ip} for ip in unready]} if unready else {}
    found = {"name": "web", "namespace": "default", **metadata}
    return {"apiVersion": "v1", "kind": "Endpoints", "metadata": found, "subsets": [subset]}


def mirrors(world: World) -> list[JsonObject]:
    managed = endpointslice.MANAGED_BY_LABEL
    return [each for each in world.api.all("endpointslices") if meta.labels(each).get(managed) == MANAGER]


def test_custom_endpoints_are_mirrored_through_create_update_and_delete() -> None:
    async def body(world: World) -> None:
        controllers(world, *EVERYTHING)
        world.api.put("services", service(selector=None))
        annotations = {"team": "a", "kubectl.kubernetes.io/last-applied-configuration": "{}"}
        world.api.put("endpoints", custom("10.0.0.1", "fd00::1", unready=("10.0.0.2",), annotations=annotations))
        await world.settle()
        found = {each["addressType"]: each for each in mirrors(world)}
        assert sorted(found) == ["IPv4", "IPv6"]
        four = found["IPv4"]
        assert four["endpoints"] == [
            {"addresses": ["10.0.0.1"], "conditions": {"ready": True}},
            {"addresses": ["10.0.0.2"], "conditions": {"ready": False}},
        ]
        assert four["ports"] == [{"name": "http", "port": 80, "protocol": "TCP"}]
        assert meta.labels(four)[endpointslice.SERVICE_LABEL] == "web"
        assert meta.annotations(four) == {"team": "a"}
        assert (meta.controller_of(four) or {})["kind"] == "Endpoints"

        world.api.put("endpoints", custom("10.0.0.3", port=81))
        await world.settle()
        [after] = mirrors(world)
        assert meta.name(after) == meta.name(four), "taken for the new ports instead of made anew"
        assert [each["addresses"] for each in after["endpoints"]] == [["10.0.0.3"]]
        assert after["ports"][0]["port"] == 81

        version = meta.resource_version(after)
        world.api.change("services", "default/web", {"metadata": {"labels": {"x": "y"}}})
        await world.settle()
        assert meta.resource_version(mirrors(world)[0]) == version, "nothing changed for it"

        world.api.remove("endpoints", "default/web")
        await world.settle()
        assert mirrors(world) == []

    run(body)


def test_what_is_not_mirrored() -> None:
    async def body(world: World) -> None:
        controllers(world, MIRRORING)
        world.api.put("endpoints", custom("10.0.0.1"))
        await world.settle()
        assert mirrors(world) == [], "no Service"
        world.api.put("services", service(selector=None))
        await world.settle()
        assert len(mirrors(world)) == 1
        world.api.change(
            "endpoints", "default/web", {"metadata": {"labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}}}
        )
        await world.settle()
        assert mirrors(world) == [], "asked not to"
        world.api.change("endpoints", "default/web", {"metadata": {"labels": None}})
        await world.settle()
        assert len(mirrors(world)) == 1
        world.api.change("services", "default/web", {"spec": {"selector": {"app": "web"}}})
        await world.settle()
        assert mirrors(world) == [], "the selector's own slices are made instead"

    run(body)


def test_too_many_addresses_are_left_out_and_told_of() -> None:
    async def body(world: World) -> None:
        world.controllers(MIRRORING, mirroring_max_endpoints_per_subset=3)
        world.api.put("services", service(selector=None))
        world.api.put("endpoints", custom(*(f"10.0.0.{n}" for n in range(1, 6))))
        await world.settle()
        assert len(mirrors(world)[0]["endpoints"]) == 3
        assert world.events("TooManyAddressesToMirror") == [
            "A max of 3 addresses can be mirrored to EndpointSlices per Endpoints subset. 2 addresses were skipped"
        ]

    run(body)


def test_the_same_address_in_two_subsets_of_the_same_ports_is_one_endpoint() -> None:
    twice = custom("10.0.0.1")
    twice["subsets"] += custom("10.0.0.1", "10.0.0.2")["subsets"]
    [(_, found)] = mirrored(twice, 1000)[0].items()
    assert [each["addresses"] for each in found] == [["10.0.0.1"], ["10.0.0.2"]]


def test_a_services_end_takes_custom_endpoints_along() -> None:
    async def body(world: World) -> None:
        controllers(world, *EVERYTHING)
        world.api.put("endpoints", custom("10.0.0.9", name="alone"))
        world.api.put("services", service(selector=None))
        world.api.put("endpoints", custom("10.0.0.1"))
        await world.settle()
        world.api.remove("services", "default/web")
        await world.settle()
        assert world.names("endpoints") == ["alone"]
        assert mirrors(world) == []

    run(body)


def test_the_time_of_the_change_is_told() -> None:
    async def body(world: World) -> None:
        controllers(world)
        world.api.put("services", service())
        await world.settle()
        created = meta.metadata(world.api.one("services", "default/web") or {})["creationTimestamp"]
        [slice_] = world.api.all("endpointslices")
        endpoints = world.api.one("endpoints", "default/web")
        assert endpoints is not None
        assert meta.annotations(slice_)[ANNOTATION] == meta.annotations(endpoints)[ANNOTATION] == created
        await world.settle(30)
        world.api.put("pods", web_pod(world, "a", "10.244.0.1"))
        ready = rfc3339(world.host.clock.now())
        await world.settle()
        for resource in ("endpointslices", "endpoints"):
            assert meta.annotations(world.api.all(resource)[0])[ANNOTATION] == ready
        world.api.change("services", "default/web", {"metadata": {"labels": {"x": "y"}}})
        await world.settle()
        for resource in ("endpointslices", "endpoints"):
            assert ANNOTATION not in meta.annotations(world.api.all(resource)[0]), "no time says when that was"

    run(body)


def test_the_earliest_of_several_changes_counts() -> None:
    def pod(name: str, time: str) -> JsonObject:
        conditions = [{"type": "Ready", "status": "True", "lastTransitionTime": time}]
        return {"metadata": {"name": name, "namespace": "default"}, "status": {"conditions": conditions}}

    times, web = TriggerTimes(), service()
    web["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z"
    assert times.look(web, []) == "2026-01-01T00:00:00Z"
    assert times.look(web, [pod("a", "2026-01-03T00:00:00Z"), pod("b", "2026-01-02T00:00:00Z")]) == (
        "2026-01-02T00:00:00Z"
    )
    assert times.look(web, [pod("a", "2026-01-03T00:00:00Z"), pod("b", "2026-01-02T00:00:00Z")]) == ""


def test_pods_of_an_unknown_node_are_not_shown_until_it_is_there() -> None:
    async def body(world: World) -> None:
        world.controllers("endpointslice-controller")
        world.api.put("services", service())
        world.api.put("pods", web_pod(world, "a", "10.244.0.1"))
        await world.settle()
        assert shown(world) == {}
        world.api.put("nodes", {"kind": "Node", "metadata": {"name": "node-1"}})
        await world.settle()
        assert shown(world) == {"10.244.0.1": (True, True, False)}

    run(body)


def test_near_endpoints_are_hinted_at_where_the_service_asks() -> None:
    made = web = {"metadata": {"name": "p", "namespace": "default", "uid": "u"}, "spec": {"nodeName": "n"}}
    made = {**web, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}

    def hints(wish: str, pod: JsonObject = made) -> object:
        asked = service(trafficDistribution=wish) if wish else service()
        return endpointslice.endpoint(asked, pod, "10.244.0.1", "z1").get("hints")

    assert hints("") is None
    assert hints("PreferClose") == hints("PreferSameZone") == {"forZones": [{"name": "z1"}]}
    assert hints("PreferSameNode") == {"forZones": [{"name": "z1"}], "forNodes": [{"name": "n"}]}
    assert hints("PreferSameZone", web) is None, "only ready ones"


def test_a_headless_pod_without_the_named_port_is_not_in_endpoints() -> None:
    asked = service(clusterIP="None", ports=[{"name": "x", "port": 1, "targetPort": "absent"}])
    pod: JsonObject = {
        "metadata": {"name": "p", "namespace": "default"}, "spec": {}, "status": {"podIP": "10.244.0.1"},
    }  # fmt: skip
    assert endpoints_controller.build(asked, [pod])["subsets"] == []
    assert endpoints_controller.build(service(clusterIP="None", ports=[]), [pod])["subsets"]
