"""Probes: thresholds and periods on virtual time, and each protocol against a real server."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from argosy.http import MemoryHttp, Request, Response, StreamHttp
from argosy.objects.types import JsonObject
from argosy.pb import health_pb2
from argosy.rpc import Call, GrpcNetwork, Methods
from node_agent.hooks import port_number
from node_agent.probes.grpc_probe import METHOD, probe_grpc
from node_agent.probes.http_probe import probe_http
from node_agent.probes.probe import Outcome, Result, Subject
from node_agent.probes.tcp_probe import probe_tcp
from tests.sim import virtual
from tests.unit.node_agent.node_world import World, make_pod, play


def probed(**probes: JsonObject) -> JsonObject:
    return make_pod(containers=[{"name": "main", "image": "busybox:1", **probes}])


def annotate(world: World, name: str, value: str) -> None:
    change = {"metadata": {"annotations": {f"fake.argosy.dev/{name}": value}}}
    world.api.change("pods", "default/web", change)


def test_readiness_follows_its_thresholds() -> None:
    async def scene(world: World) -> None:
        probe = {"exec": {"command": ["x"]}, "periodSeconds": 10, "failureThreshold": 3, "successThreshold": 2}
        world.api.put("pods", probed(readinessProbe=probe))
        await world.until(lambda: "running" in world.container("default/web").get("state", {}))
        assert not world.container("default/web")["ready"]
        await asyncio.sleep(5)
        assert not world.container("default/web")["ready"], "one success is not two"
        await world.running("default/web")
        annotate(world, "ready", "false")
        await asyncio.sleep(19)
        assert world.container("default/web")["ready"], "two failures are not three"
        await world.until(lambda: world.condition("default/web", "Ready") == "False", limit_s=15)
        pod = world.pod("default/web")
        assert pod is not None
        message = next(c for c in pod["status"]["conditions"] if c["type"] == "Ready")
        assert message["reason"] == "ContainersNotReady"
        assert message["message"] == "containers with unready status: [main]"
        assert world.container("default/web")["restartCount"] == 0
        annotate(world, "ready", "true")
        await world.running("default/web")

    play(scene)


def test_a_runtime_whose_clock_is_ahead_delays_no_probe() -> None:
    async def scene(world: World) -> None:
        ahead = virtual.virtual_host(asyncio.get_running_loop(), "runtime")
        ahead.clock.skew_s = 300.0  # type: ignore[attr-defined]
        world.runtime._host = ahead
        world.api.put("pods", probed(readinessProbe={"exec": {"command": ["x"]}, "initialDelaySeconds": 5}))
        await world.until(lambda: world.condition("default/web", "Ready") == "True", limit_s=10)

    play(scene)


def test_a_failed_liveness_probe_restarts_the_container() -> None:
    async def scene(world: World) -> None:
        probe = {"exec": {"command": ["x"]}, "periodSeconds": 2, "failureThreshold": 2, "initialDelaySeconds": 5}
        world.api.put("pods", probed(livenessProbe=probe))
        await world.running("default/web")
        annotate(world, "live", "false")
        await world.until(lambda: world.container("default/web")["restartCount"] == 1)
        annotate(world, "live", "true")
        assert "Container main failed liveness probe, will be restarted" in world.events("Killing")
        await world.running("default/web")
        await asyncio.sleep(100)
        assert world.container("default/web")["restartCount"] == 1

    play(scene)


def test_a_container_that_keeps_failing_its_liveness_probe_backs_off() -> None:
    async def scene(world: World) -> None:
        probe = {"exec": {"command": ["x"]}, "periodSeconds": 1, "failureThreshold": 1}
        pod = probed(livenessProbe=probe)
        pod["metadata"]["annotations"] = {"fake.argosy.dev/live": "false"}
        world.api.put("pods", pod)
        await asyncio.sleep(60)
        assert 2 <= world.container("default/web")["restartCount"] <= 4
        await world.until(lambda: "waiting" in world.container("default/web")["state"])
        assert world.container("default/web")["state"]["waiting"]["reason"] == "CrashLoopBackOff"

    play(scene)


def test_a_startup_probe_holds_the_others_back() -> None:
    async def scene(world: World) -> None:
        startup = {"exec": {"command": ["s"]}, "periodSeconds": 1, "failureThreshold": 30}
        liveness = {"exec": {"command": ["l"]}, "periodSeconds": 1, "failureThreshold": 1}
        pod = probed(startupProbe=startup, livenessProbe=liveness)
        pod["metadata"]["annotations"] = {"fake.argosy.dev/started": "false", "fake.argosy.dev/live": "false"}
        world.api.put("pods", pod)
        await asyncio.sleep(15)
        container = world.container("default/web")
        assert container["restartCount"] == 0 and not container["started"] and not container["ready"]
        annotate(world, "live", "true")
        annotate(world, "started", "true")
        await world.running("default/web")
        assert world.container("default/web")["started"]

    play(scene)


def test_a_startup_probe_that_never_succeeds_ends_the_container() -> None:
    async def scene(world: World) -> None:
        pod = probed(startupProbe={"exec": {"command": ["s"]}, "periodSeconds": 1, "failureThreshold": 3})
        pod["metadata"]["annotations"] = {"fake.argosy.dev/started": "false"}
        world.api.put("pods", pod)
        await world.until(lambda: world.container("default/web").get("restartCount") == 1)
        assert "Container main failed startup probe, will be restarted" in world.events("Killing")

    play(scene)


def test_readiness_gates_hold_a_pod_back() -> None:
    async def scene(world: World) -> None:
        world.api.put("pods", make_pod(readinessGates=[{"conditionType": "example.com/gate"}]))
        await world.until(lambda: world.condition("default/web", "ContainersReady") == "True")
        assert world.condition("default/web", "Ready") == "False"
        pod = world.pod("default/web")
        assert pod is not None
        gate = {"type": "example.com/gate", "status": "True"}
        world.api.change("pods", "default/web", {"status": {"conditions": [*pod["status"]["conditions"], gate]}})
        await world.running("default/web")
        assert world.condition("default/web", "example.com/gate") == "True"

    play(scene)


# Protocols

SUBJECT = Subject({}, {"name": "main", "ports": [{"name": "web", "containerPort": 8080}]}, "id", ("127.0.0.1",))


def test_ports_are_found_by_name() -> None:
    assert port_number(SUBJECT.container, "web") == 8080
    assert port_number(SUBJECT.container, 99) == 99
    assert port_number(SUBJECT.container, "99") == 99
    with pytest.raises(ValueError, match="couldn't find port"):
        port_number(SUBJECT.container, "none")


def test_http_outcomes() -> None:
    answers: dict[str, Response] = {
        "/ok": Response(200, {}, b"fine"),
        "/odd": Response(399, {}, b""),
        "/bad": Response(500, {}, b"broken"),
        "/there": Response(302, {"location": "/ok"}, b""),
        "/away": Response(302, {"location": "http://example.com/"}, b"moved"),
        "/loop": Response(302, {"location": "/loop"}, b""),
    }
    asked: list[Request] = []

    async def handler(request: Request) -> Response:
        asked.append(request)
        return answers["/" + request.url.rsplit("/", 1)[1]]

    async def main() -> dict[str, tuple[Outcome, str]]:
        http = MemoryHttp()
        http.serve("127.0.0.1:8080", handler)
        found = {}
        for path in answers:
            headers = [{"name": "X-Test", "value": "1"}]
            action = {"path": path, "port": "web", "httpHeaders": headers}
            result = await probe_http(http, action, SUBJECT, 1.0)
            found[path] = (result.outcome, result.message)
        http.stop("127.0.0.1:8080")
        refused = await probe_http(http, {"path": "/ok", "port": 8080}, SUBJECT, 1.0)
        found["refused"] = (refused.outcome, refused.message)
        return found

    found = asyncio.run(main())
    assert found["/ok"] == (Outcome.SUCCESS, "fine")
    assert found["/odd"][0] is Outcome.SUCCESS
    assert found["/bad"] == (Outcome.FAILURE, "HTTP probe failed with statuscode: 500")
    assert found["/there"] == (Outcome.SUCCESS, "fine")
    assert found["/away"][0] is Outcome.WARNING
    assert found["/loop"][0] is Outcome.FAILURE
    assert found["refused"] == (
        Outcome.FAILURE,
        'Get "http://127.0.0.1:8080/ok": dial tcp 127.0.0.1:8080: connect: connection refused',
    )
    assert asked[0].headers["user-agent"] == "kube-probe/1.36" and asked[0].headers["x-test"] == "1"


async def serving(answer: bytes, use: Callable[[int], Awaitable[Result]]) -> Result:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()
            if answer:
                writer.close()
        except (OSError, asyncio.IncompleteReadError):
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        return await use(server.sockets[0].getsockname()[1])
    finally:
        server.close()


def test_tcp_outcomes() -> None:
    async def main() -> None:
        async def use(port: int) -> Result:
            return await probe_tcp({"port": port}, SUBJECT, 2.0)

        result = await serving(b"x", use)
        assert result.outcome is Outcome.SUCCESS
        closed: list[int] = []

        async def note(port: int) -> Result:
            closed.append(port)
            return Result(Outcome.UNKNOWN)

        await serving(b"x", note)
        refused = await probe_tcp({"port": closed[0]}, SUBJECT, 2.0)
        assert refused.outcome is Outcome.FAILURE
        assert refused.message == f"dial tcp 127.0.0.1:{closed[0]}: connect: connection refused"

    asyncio.run(main())


def test_http_probe_over_a_real_connection() -> None:
    async def main() -> None:
        async def use(port: int) -> Result:
            return await probe_http(StreamHttp(), {"path": "/x", "port": port}, SUBJECT, 2.0)

        good = await serving(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", use)
        assert (good.outcome, good.message) == (Outcome.SUCCESS, "ok")

        async def hasty(port: int) -> Result:
            return await probe_http(StreamHttp(), {"path": "/x", "port": port}, SUBJECT, 0.2)

        silent = await serving(b"", hasty)
        assert silent.outcome is Outcome.FAILURE
        assert "no answer within 0.2 s" in silent.message

    asyncio.run(main())


def test_grpc_outcomes() -> None:
    async def main() -> None:
        network = GrpcNetwork()

        async def check(body: bytes, _call: Call) -> bytes:
            service = health_pb2.HealthCheckRequest.FromString(body).service
            serving = health_pb2.HealthCheckResponse.SERVING
            down = health_pb2.HealthCheckResponse.NOT_SERVING
            status = serving if service == "up" else down
            return bytes(health_pb2.HealthCheckResponse(status=status).SerializeToString())

        server = await network.serve("127.0.0.1:0", Methods({METHOD: check}))
        port = int(server.address.rpartition(":")[2])
        up = await probe_grpc(network, {"port": port, "service": "up"}, SUBJECT, 5.0)
        down = await probe_grpc(network, {"port": port, "service": "down"}, SUBJECT, 5.0)
        await server.stop(0)
        assert up.outcome is Outcome.SUCCESS
        assert (down.outcome, down.message) == (
            Outcome.FAILURE,
            "service unhealthy (responded with 'NOT_SERVING')",
        )

    asyncio.run(main())


def test_a_pod_in_the_nodes_network_is_probed_at_the_nodes_address() -> None:
    async def scene(world: World) -> None:
        world.api.put("pods", make_pod(hostNetwork=True))
        await world.running("default/web")
        assert world.agent is not None
        (worker,) = world.agent.pods.workers.values()
        assert worker.observer.last.ips == ("10.77.3.1",)

    play(scene)
