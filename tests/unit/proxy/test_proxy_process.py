"""The Proxy itself: follows the API, writes only what changed, repairs, and outlives failures."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import pytest

from argosy.host import real_host
from node_agent.proxy import model
from node_agent.proxy.command import CommandError
from node_agent.proxy.conntrack import Deletion
from node_agent.proxy.health import HealthChecks
from node_agent.proxy.iptables import Iptables
from node_agent.proxy.model import NodeFacts, ServicePort
from node_agent.proxy.proxy import Config, Proxy

NODE = {"metadata": {"name": "node-1"}}
CONFIG = Config(
    node_name="node-1",
    node_ip="172.31.0.10",
    api_servers=("x",),
    cluster_cidr=("10.244.0.0/16",),
    min_sync_period_s=0.0,
    sync_period_s=0.02,
)


def service(name: str, ip: str, **more: Any) -> dict[str, Any]:
    spec = {"clusterIP": ip, "ports": [{"port": 80, "protocol": "TCP"}], **more}
    return {"metadata": {"namespace": "default", "name": name}, "spec": spec}


def piece(name: str, *ips: str, protocol: str = "TCP") -> dict[str, Any]:
    return {
        "metadata": {
            "namespace": "default",
            "name": f"{name}-1",
            "labels": {"kubernetes.io/service-name": name},
        },
        "addressType": "IPv4",
        "ports": [{"port": 8080, "protocol": protocol}],
        "endpoints": [{"addresses": [ip], "nodeName": "node-1"} for ip in ips],
    }


class Recorder:
    """An applier that keeps what the kernel would have, and can fail."""

    def __init__(self) -> None:
        self.state: dict[str, tuple[ServicePort, ...]] = {}
        self.fulls = 0
        self.changes: list[set[str]] = []
        self.failures = 0
        self.whole = True

    async def sync_all(self, services: Mapping[str, Sequence[ServicePort]], node: NodeFacts) -> None:
        self.fulls += 1
        self._fail()
        self.state = {key: tuple(ports) for key, ports in services.items()}
        self.whole = True

    async def sync(self, changed: Mapping[str, Sequence[ServicePort]], node: NodeFacts) -> None:
        self.changes.append(set(changed))
        self._fail()
        self.state.update({key: tuple(ports) for key, ports in changed.items()})

    async def intact(self) -> bool:
        return self.whole

    def _fail(self) -> None:
        if self.failures:
            self.failures -= 1
            raise CommandError("iptables-restore: exit code 4: planned")

    def endpoints(self, key: str) -> list[str]:
        return [endpoint.ip for port in self.state.get(key, ()) for endpoint in port.cluster_endpoints]


class Tracker:
    def __init__(self) -> None:
        self.forgotten: list[Deletion] = []

    async def forget(self, entries: Sequence[Deletion]) -> None:
        self.forgotten += entries


def run(api: Any, applier: Any, test: Callable[[Proxy], Awaitable[None]], **parts: Any) -> None:
    async def body() -> None:
        proxy = Proxy(CONFIG, real_host(), api, applier, **parts)
        task = asyncio.ensure_future(proxy.run())
        try:
            await test(proxy)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(body())


async def until(check: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not check():
            await asyncio.sleep(0.005)


def test_follows_changes_one_service_at_a_time(api: Any) -> None:
    services, slices = api.resource("", "v1", "services"), api.resource("d", "v1", "endpointslices")
    api.resource("", "v1", "nodes").put(NODE)
    for number in range(5):
        services.put(service(f"s{number}", f"10.96.0.{number + 1}"))
        slices.put(piece(f"s{number}", f"10.244.1.{number + 1}"))
    recorder = Recorder()

    async def test(proxy: Proxy) -> None:
        await until(lambda: len(recorder.state) == 5)
        assert recorder.fulls == 1 and recorder.endpoints("default/s3") == ["10.244.1.4"]
        slices.put(piece("s3", "10.244.1.4", "10.244.2.9"))
        await until(lambda: recorder.endpoints("default/s3") == ["10.244.1.4", "10.244.2.9"])
        assert recorder.changes == [{"default/s3"}]
        syncs = proxy.syncs
        slices.put({**piece("s3", "10.244.1.4", "10.244.2.9"), "metadata": {**piece("s3")["metadata"], "a": 1}})
        await until(lambda: proxy.syncs > syncs)
        assert recorder.changes == [{"default/s3"}], "what changes no rule is not written"
        services.delete("default/s3")
        await until(lambda: recorder.state["default/s3"] == ())
        assert recorder.fulls == 1

    run(api, recorder, test)


def test_failure_is_repaired_by_a_full_sync_and_so_is_a_flush(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node_agent.proxy.proxy.RETRY_MIN_S", 0.01)
    services, slices = api.resource("", "v1", "services"), api.resource("d", "v1", "endpointslices")
    services.put(service("web", "10.96.0.1"))
    recorder = Recorder()

    async def test(proxy: Proxy) -> None:
        await until(lambda: proxy.syncs == 1)
        recorder.failures = 2
        slices.put(piece("web", "10.244.1.1"))
        await until(lambda: recorder.endpoints("default/web") == ["10.244.1.1"])
        assert recorder.failures == 0 and recorder.fulls >= 2
        fulls = recorder.fulls
        recorder.whole = False
        await until(lambda: recorder.fulls > fulls)

    run(api, recorder, test)


def test_a_service_that_makes_no_sense_does_not_stop_others(api: Any) -> None:
    services, slices = api.resource("", "v1", "services"), api.resource("d", "v1", "endpointslices")
    services.put(service("odd", "10.96.0.2", ports=[7, {"port": "x"}]))
    services.put(service("web", "10.96.0.1"))
    slices.put(piece("web", "10.244.1.1", "not an address"))
    recorder = Recorder()

    async def test(_: Proxy) -> None:
        await until(lambda: recorder.endpoints("default/web") == ["10.244.1.1"])

    run(api, recorder, test)


def test_udp_changes_forget_flows(api: Any) -> None:
    services, slices = api.resource("", "v1", "services"), api.resource("d", "v1", "endpointslices")
    services.put(service("dns", "10.96.0.10", ports=[{"port": 53, "protocol": "UDP"}]))
    slices.put(piece("dns", "10.244.1.1", protocol="UDP"))
    recorder, tracker = Recorder(), Tracker()

    async def test(proxy: Proxy) -> None:
        await until(lambda: proxy.syncs == 1)
        tracker.forgotten.clear()
        slices.put(piece("dns", "10.244.1.2", protocol="UDP"))
        await until(lambda: bool(tracker.forgotten))
        assert tracker.forgotten == [
            (
                *("-D", "-f", "ipv4", "-p", "udp", "--orig-dst", "10.96.0.10", "--dport", "53"),
                *("--dst-nat", "10.244.1.1", "--reply-port-src", "8080"),
            )
        ]

    run(api, recorder, test, tracker=tracker)


def test_health_check_port_tells_of_local_endpoints(api: Any) -> None:
    checks = HealthChecks("127.0.0.1")

    async def ask(port: int) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = await reader.read()
        writer.close()
        return answer

    async def body() -> None:
        await checks.set("default/web", 30999, 2)
        answer = await ask(30999)
        assert answer.startswith(b"HTTP/1.1 200") and b'"localEndpoints":2' in answer
        await checks.set("default/web", 30999, 0)
        assert (await ask(30999)).startswith(b"HTTP/1.1 503")
        await checks.set("default/web", 0, 0)
        with pytest.raises(ConnectionRefusedError):
            await ask(30999)
        await checks.close()

    asyncio.run(body())


def test_draining_endpoints_take_traffic_but_are_not_healthy() -> None:
    """A load balancer shall look elsewhere while the last endpoint here still answers who comes."""
    spec = {"clusterIP": "10.96.0.80", "ports": [{"port": 80, "nodePort": 30080}], "externalTrafficPolicy": "Local"}
    conditions = {"ready": False, "serving": True, "terminating": True}
    found = piece("web", "10.244.1.7")
    found["endpoints"] = [{"addresses": ["10.244.1.7"], "nodeName": "here", "conditions": conditions}]
    web = {"metadata": {"namespace": "default", "name": "web"}, "spec": spec}
    (port,) = model.service_ports(web, [found], model.NodeFacts("here"), "IPv4")
    assert [endpoint.ip for endpoint in port.local_endpoints] == ["10.244.1.7"]
    assert port.ready_here == ()
    found["endpoints"][0]["conditions"] = {"ready": True}
    (port,) = model.service_ports(web, [found], model.NodeFacts("here"), "IPv4")
    assert port.ready_here == ("10.244.1.7",)


@pytest.mark.root
def test_in_a_kernel_the_vip_follows_the_slices(api: Any, lan: Any) -> None:
    services, slices = api.resource("", "v1", "services"), api.resource("d", "v1", "endpointslices")
    for ip in ("10.244.1.11", "10.244.1.12"):
        lan.serve(lan.pod(ip), ip, 8080)
    services.put(service("web", "10.96.0.80"))

    async def ask() -> str:
        try:
            return str((await asyncio.to_thread(lan.ask, lan.node, "10.96.0.80", 80))[0])
        except OSError as error:
            return type(error).__name__

    async def answers(wanted: str) -> None:
        async with asyncio.timeout(20):
            while await ask() != wanted:
                await asyncio.sleep(0.01)

    async def test(_: Proxy) -> None:
        await answers("ConnectionRefusedError")
        slices.put(piece("web", "10.244.1.11"))
        await answers("10.244.1.11")
        slices.put(piece("web", "10.244.1.12"))
        await answers("10.244.1.12")
        lan.run("iptables-nft", "-t", "nat", "-F")
        await answers("10.244.1.12")
        slices.put(piece("web"))
        await answers("ConnectionRefusedError")

    run(api, Iptables(prefix=lan.enter), test)
