"""The launcher's command lines are understood by the processes that they start."""

from __future__ import annotations

import importlib
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from argosy import config as flags
from deploy import bring_up, node, processes
from deploy.cluster import ClusterConfig, NodeConfig
from deploy.layout import Layout
from deploy.place import Place, Surroundings, on_lan, on_machine

CONFIGS = {
    "etcd": "etcd.config",
    "control_plane.apiserver": "control_plane.apiserver.config",
    "control_plane.controllers": "control_plane.controllers.config",
    "control_plane.scheduler": "control_plane.scheduler.config",
    "control_plane.autoscaler": "control_plane.autoscaler.config",
    "control_plane.metrics": "control_plane.metrics.config",
    "control_plane.ingress": "control_plane.ingress.config",
    "control_plane.dns": "control_plane.dns.server",
    "deploy.relay": "deploy.relay",
    "node_agent": "node_agent.config",
    "node_agent.proxy": "node_agent.proxy.proxy",
}
CLUSTER = ClusterConfig(
    "demo",
    stores=3,
    apiservers=2,
    uplink=True,
    nodes=(NodeConfig("node-1", 1, 1.5, 1 << 30),),
    port=7000,
    ingress=True,
    ingress_port=8080,
)


def place_of(config: ClusterConfig) -> Place:
    if config.is_on_lan:
        return on_lan(Layout(config.name), config)
    return on_machine(config, Surroundings(("127.0.0.53",), ("192.0.2.53",), "127.0.0.1 localhost\n"))


def control_plane(config: ClusterConfig) -> list[processes.Process]:
    return processes.control_plane(Layout(config.name), config, place_of(config))


def python_lines(config: ClusterConfig) -> list[list[str]]:
    place = place_of(config)
    lines = [list(item.arguments) for item in control_plane(config)]
    for item in config.nodes:
        lines += [service["arguments"] for service in node.services(config, place, item, "/usr/lib/cni")["services"]]
    return [line for line in lines if line[0] == sys.executable]


@pytest.mark.parametrize(
    "config",
    [
        CLUSTER,
        ClusterConfig("other", stores=0, etcd_servers=("https://127.0.0.1:2379",)),
        ClusterConfig("plain", stores=1, etcd_servers=("http://127.0.0.1:2379",)),
    ],
    ids=lambda config: config.name,
)
def test_every_process_understands_its_flags(config: ClusterConfig) -> None:
    lines = python_lines(config)
    assert lines
    for line in lines:
        assert line[1] == "-m"
        module = importlib.import_module(CONFIGS[line[2]])
        extra = ["--listen-fds", "3,4"] if line[2] in ("control_plane.apiserver", "deploy.relay") else []
        parsed = flags.parse(module.Config, line[2], "", [*line[3:], *extra])
        validate = getattr(parsed, "validate", None)
        if validate is not None:
            validate()


def test_every_process_has_a_main_module() -> None:
    root = Path(node.PACKAGES)
    for line in python_lines(CLUSTER):
        path = root / line[2].replace(".", "/")
        assert (path / "__main__.py").exists() or path.with_suffix(".py").exists(), line[2]


def test_each_api_server_has_clients_of_its_own_group_first() -> None:
    found = {item.name: item for item in control_plane(CLUSTER)}
    line = found["controllers-2"].arguments
    assert line[line.index("--api-servers") + 1] == "10.77.2.2:6444,10.77.2.1:6444"
    assert found["apiserver-2"].namespace.endswith("argosy-demo-cp-2")
    assert found["apiserver-2"].sockets == ("host", "cp-2")


def test_further_flags_reach_their_process() -> None:
    flags = {"controllers": ["--node-monitor-period=1"], "agent": ["--max-pods=7"], "etcd-2": ["--quota-bytes=7"]}
    config = ClusterConfig("demo", flags=flags)
    config = config.with_node(NodeConfig("node-1", 1, 1.0, 1 << 30))
    found = {line[2]: line for line in python_lines(config)}
    assert "--node-monitor-period=1" in found["control_plane.controllers"]
    assert "--max-pods=7" in found["node_agent"]
    assert "--max-pods=7" not in found["node_agent.proxy"]
    given = {item.name for item in control_plane(config) if "--quota-bytes=7" in item.arguments}
    assert given == {"etcd-2"}


def test_an_etcd_on_the_machines_loopback_is_reached_through_the_relay() -> None:
    urls = ("https://127.0.0.1:2379", "https://localhost:3379", "https://192.0.2.1")
    config = ClusterConfig("demo", stores=0, apiservers=2, etcd_servers=urls, etcd_identity=True)
    found = {item.name: item for item in control_plane(config)}
    relay = found["etcd-relay"]
    assert relay.namespace == "" and relay.arguments[4] == "127.0.0.1:2379,localhost:3379"
    assert relay.sockets == tuple(f"relay-cp-{number}-{port}" for number in (1, 2) for port in (2379, 3379))
    listener = place_of(config).sockets["relay-cp-2-3379"]
    assert listener.namespace.endswith("argosy-demo-cp-2") and (listener.ip, listener.port) == ("127.0.0.1", 3379)
    line = found["apiserver-1"].arguments
    assert line[line.index("--etcd-servers") + 1] == "127.0.0.1:2379,localhost:3379,192.0.2.1:2379"
    assert "--etcd-certificate" in line


def test_the_store_stops_last_of_the_control_plane() -> None:
    order = {item.kind: item.stop_order for item in control_plane(CLUSTER)}
    assert order["scheduler"] < order["apiserver"] < order["etcd"] < order["uplink"]


def test_the_command_line_asks_any_api_server(monkeypatch: pytest.MonkeyPatch) -> None:
    dialled: list[str] = []

    class Network:
        def dial(self, address: str, tls: object) -> None:
            dialled.append(address)

    monkeypatch.setattr(bring_up, "GrpcNetwork", Network)
    monkeypatch.setattr(bring_up.Tls, "load", lambda *unused: None)
    bring_up.client(Layout("demo"), CLUSTER)
    assert dialled == ["unix:/run/argosy/demo/api.sock", "unix:/run/argosy/demo/api-2.sock"]


def test_nodes_that_share_a_disk_do_not_judge_it() -> None:
    """A machine whose disk is nearly full can run a cluster; a node that is a machine keeps upstream's threshold."""
    from node_agent.config import Config

    def thresholds(config: ClusterConfig) -> tuple[tuple[str, ...], float]:
        (line,) = (line for line in python_lines(config) if line[2] == "node_agent")
        found = flags.parse(Config, "node_agent", "", line[3:])
        return found.eviction_hard, found.image_gc_high_threshold

    assert thresholds(CLUSTER) == (("memory.available<100Mi",), 100)
    own = replace(CLUSTER, nodes=tuple(replace(item, disk_bytes=1 << 30) for item in CLUSTER.nodes))
    assert thresholds(own) == (Config.eviction_hard, 85)
    machine = ClusterConfig(
        "joined", stores=0, apiservers=0, api_servers=("192.0.2.1:6444",), address="192.0.2.2", nodes=CLUSTER.nodes
    )
    assert thresholds(machine) == (Config.eviction_hard, 85)


SERVER = ClusterConfig("demo", stores=3, address="192.0.2.1", port=7000)
JOINED = ClusterConfig(
    "demo",
    stores=0,
    apiservers=0,
    nodes=(NodeConfig("node-a", 1, 1.0, 1 << 30),),
    address="192.0.2.2",
    api_servers=("192.0.2.1:7001",),
)


@pytest.mark.parametrize("config", [SERVER, JOINED], ids=["server", "joined"])
def test_on_a_machine_they_are_understood_too(config: ClusterConfig) -> None:
    test_every_process_understands_its_flags(config)


def test_a_machines_control_plane_is_in_its_own_network() -> None:
    found = {item.name: item for item in control_plane(SERVER)}
    assert not any(item.namespace for item in found.values())
    assert {name for name in found if name.startswith("etcd")} == {"etcd-1", "etcd-2", "etcd-3"}
    members = found["etcd-1"].arguments
    listed = members[members.index("--initial-cluster") + 1].split(",")
    assert len({item.partition("=")[2] for item in listed}) == 3, "members on one address differ by port"
    line = found["apiserver-1"].arguments
    assert line[line.index("--advertise-address") + 1] == "192.0.2.1"
    assert line[line.index("--advertise-port") + 1] == "7000"
    assert "127.0.0.53" in found["dns-1"].arguments
    assert place_of(SERVER).sockets["host"].ip == "127.0.0.1"


def test_a_joined_machine_runs_a_node_alone_with_keys_of_its_own() -> None:
    assert control_plane(JOINED) == []
    place = place_of(JOINED)
    assert place.nodes["node-a"].nameservers == ("192.0.2.53",), "pods cannot ask a stub on loopback"
    services = {
        item["name"]: item for item in node.services(JOINED, place, JOINED.nodes[0], "/usr/lib/cni")["services"]
    }
    agent = services["agent"]["arguments"]
    assert agent[agent.index("--api-servers") + 1] == "192.0.2.1:7001"
    assert "--rotate-certificates" in agent
    certificate = agent[agent.index("--certificate") + 1]
    assert certificate.startswith(node.OWN_PKI)
    assert certificate in services["agent"]["restart_on"] and certificate in services["proxy"]["restart_on"]
    assert not services["containerd"]["restart_on"]
