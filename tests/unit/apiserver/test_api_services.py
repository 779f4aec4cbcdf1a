"""Addresses and ports of Services: given, kept, given back, and never given twice."""

from __future__ import annotations

import asyncio

import pytest

from argosy.objects.status import ApiError


def service(name="s", kind="ClusterIP", ports=(80,), **spec):
    listed = [port if isinstance(port, dict) else {"name": f"p{port}", "port": port} for port in ports]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"type": kind, "selector": {"app": "x"}, "ports": listed, **spec},
    }


async def refused(awaitable, code):
    with pytest.raises(ApiError) as caught:
        await awaitable
    assert caught.value.code == code, caught.value.status
    return caught.value


def services_of(api):
    return api.client().resource("", "v1", "services")


def test_a_service_gets_an_address_and_keeps_it(with_api):
    async def body(api):
        services = services_of(api)
        made = await services.create(service())
        spec = made["spec"]
        assert spec["clusterIP"].startswith("10.96.")
        assert spec["clusterIPs"] == [spec["clusterIP"]]
        assert (spec["ipFamilies"], spec["ipFamilyPolicy"]) == (["IPv4"], "SingleStack")
        again = await services.update(service(ports=(80, 81)))
        assert again["spec"]["clusterIP"] == spec["clusterIP"]
        headless = await services.create(service("h", clusterIP="None"))
        assert headless["spec"]["clusterIPs"] == ["None"]

    with_api(body)


def test_an_address_is_free_again_after_its_service(with_api):
    async def body(api):
        services = services_of(api)
        await services.create(service("a", clusterIP="10.96.0.77"))
        error = await refused(services.create(service("b", clusterIP="10.96.0.77")), 422)
        assert "provided IP is already allocated" in error.message
        await services.delete("a", namespace="default")
        await services.create(service("b", clusterIP="10.96.0.77"))
        await refused(services.create(service("c", clusterIP="10.97.0.1")), 422)

    with_api(body)


def test_node_ports_follow_the_type(with_api):
    async def body(api):
        services = services_of(api)
        made = await services.create(service(kind="NodePort", ports=(80, 81)))
        ports = [port["nodePort"] for port in made["spec"]["ports"]]
        assert len(set(ports)) == 2
        assert all(30000 <= port <= 32767 for port in ports)
        await refused(services.create(service("t", "NodePort", [{"port": 1, "nodePort": ports[0]}])), 422)
        await refused(services.create(service("t", "NodePort", [{"port": 1, "nodePort": 80}])), 422)
        plain = await services.update(service(ports=(80, 81)))
        assert all("nodePort" not in port for port in plain["spec"]["ports"])
        await services.create(service("t", "NodePort", [{"port": 1, "nodePort": ports[0]}]))
        external = {"type": "ExternalName", "externalName": "example.com", "clusterIP": None, "ports": None}
        gone = await services.patch("s", {"spec": external}, namespace="default")
        assert "clusterIP" not in gone["spec"]
        await services.create(service("u", clusterIP=made["spec"]["clusterIP"]))

    with_api(body)


def test_ports_of_load_balancers_follow_their_fields(with_api):
    async def body(api):
        services = services_of(api)
        bare = await services.create(service("bare", "LoadBalancer", allocateLoadBalancerNodePorts=False))
        assert "nodePort" not in bare["spec"]["ports"][0]
        local = {"externalTrafficPolicy": "Local"}
        made = await services.create(service("s", "LoadBalancer", **local))
        number = made["spec"]["healthCheckNodePort"]
        assert 30000 <= number <= 32767
        await refused(services.create(service("t", "NodePort", [{"port": 1, "nodePort": number}])), 422)
        change = {"spec": {"externalTrafficPolicy": "Cluster"}}
        changed = await services.patch("s", change, namespace="default")
        assert "healthCheckNodePort" not in changed["spec"], "nobody asks there any more"
        await services.create(service("t", "NodePort", [{"port": 1, "nodePort": number}]))
        again = await services.patch("s", {"spec": local}, namespace="default")
        assert again["spec"]["healthCheckNodePort"] not in (0, number)

    with_api(body)


def test_a_full_range_is_given_out_once_each_even_at_the_same_time(with_api):
    async def body(api):
        services = services_of(api)
        results = await asyncio.gather(
            *(services.create(service(f"s{number}")) for number in range(14)), return_exceptions=True
        )
        made = [item for item in results if isinstance(item, dict)]
        addresses = {item["spec"]["clusterIP"] for item in made}
        assert len(made) == len(addresses) == 14, results
        await refused(services.create(service("late")), 500)
        await services.delete("s3", namespace="default")
        await services.list()
        assert (await services.create(service("late")))["spec"]["clusterIP"] not in (
            addresses - {item["spec"]["clusterIP"] for item in made if item["metadata"]["name"] == "s3"}
        )

    with_api(body, service_cidr=("10.96.0.0/28",))


def test_dual_stack_services_get_one_of_each(with_api):
    async def body(api):
        services = services_of(api)
        made = await services.create(service(ipFamilyPolicy="PreferDualStack"))
        assert made["spec"]["ipFamilies"] == ["IPv4", "IPv6"]
        assert made["spec"]["clusterIPs"][1].startswith("fd00:")
        single = await services.create(service("six", ipFamilies=["IPv6"]))
        assert single["spec"]["clusterIP"].startswith("fd00:")

    with_api(body, service_cidr=("10.96.0.0/16", "fd00:10:96::/112"))


def test_the_kubernetes_service_names_the_living_servers(with_api):
    async def body(api):
        made = await services_of(api).get("kubernetes", namespace="default")
        assert made["spec"]["clusterIP"] == "10.96.0.1"
        slices = api.client().resource("discovery.k8s.io", "v1", "endpointslices")
        async for event in slices.watch(namespace="default"):
            if event.object["metadata"]["name"] == "kubernetes":
                assert event.object["endpoints"][0]["addresses"] == ["10.77.2.1"]
                break

    with_api(body, advertise_address="10.77.2.1")
