"""What `argosy status` shows: every process with its pid, health, memory and CPU.

Asked for by the command line through the supervisor's control socket. Nothing here runs unasked.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from deploy import containerd, netns
from deploy.cluster import NodeConfig
from deploy.layout import AGENT_PORT
from deploy.processes import Probe
from deploy.unit import State

if TYPE_CHECKING:
    from deploy.supervisor import Supervisor

PROBE_TIMEOUT_S: Final = 2.0
TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class ProcessReport:
    """One line of `argosy status`."""

    name: str
    pid: int
    state: str
    healthy: bool
    restarts: int
    exit: str
    """How it ended the last time."""
    pss_bytes: int
    """Memory of its own and its share of what it shares."""
    cpu_s: float
    """Processor time since it started."""
    up_s: float


async def report(supervisor: Supervisor) -> dict[str, Any]:
    """All processes of a cluster, and its nodes as configured."""
    lines = [_line("supervisor", os.getpid(), State.RUNNING.value, True, 0, "")]
    units = sorted(supervisor.units.items())
    probes = []
    for name, unit in units:
        spec = supervisor.specs.get(name)
        probe = spec.probe if spec is not None else None
        probes.append(_probed(spec.namespace if spec else "", probe, unit.pid))
    healthy = await asyncio.gather(*probes)
    later = {*supervisor.specs, *(item.name for item in supervisor.config.nodes)} - {name for name, _ in units}
    lines += [_line(name, 0, State.WAITING.value, False, 0, "") for name in sorted(later)]
    for (name, unit), well in zip(units, healthy, strict=True):
        lines.append(_line(name, unit.pid, unit.state.value, well, unit.restarts, unit.exit))
    for item in supervisor.config.nodes:
        unit_of_node = supervisor.units.get(item.name)
        if unit_of_node is not None and unit_of_node.pid:
            lines += await _inside(supervisor, item, unit_of_node.pid)
    nodes = [{**asdict(item), "ip": supervisor.place.nodes[item.name].ip} for item in supervisor.config.nodes]
    return {"name": supervisor.config.name, "processes": [asdict(line) for line in lines], "nodes": nodes}


async def _inside(supervisor: Supervisor, item: NodeConfig, pid: int) -> list[ProcessReport]:
    """The processes that a node's PID 1 keeps, by their pids on the host."""
    path = f"/proc/{pid}/root"
    outer = host_pids(pid)
    result = []
    for service in services(path):
        name, host_pid = service["name"], outer.get(service["pid"], 0)
        well = host_pid != 0
        if well and name == "containerd":
            well = await asyncio.to_thread(netns.accepts_unix, path + containerd.SOCKET)
        elif well and name == "agent":
            here = supervisor.place.nodes[item.name]
            probe = Probe(here.ip, AGENT_PORT, *_identity(supervisor, item))
            well = await _probed(here.namespace, probe, host_pid)
        state = State.RUNNING if host_pid else State.WAITING
        line = _line(f"{item.name}/{name}", host_pid, state.value, well, service["restarts"], service["exit"])
        result.append(line)
    return result


def _identity(supervisor: Supervisor, item: NodeConfig) -> tuple[str, str]:
    """Whose certificate a node's agent is shown, and its authority; a machine that joined has only the node's own."""
    layout = supervisor.layout
    if supervisor.config.has_control_plane:
        return f"{layout.pki}/apiserver-kubelet-client", f"{layout.pki}/ca.crt"
    return f"{layout.node_pki(item.name)}/agent", f"{layout.node(item.name)}/pki/ca.crt"


def services(root: str) -> list[dict[str, Any]]:
    """What a node's PID 1 says of its services; `root` is the node's root as the host sees it."""
    try:
        with open(f"{root}/run/argosy/init.json", encoding="utf-8") as file:
            found: list[dict[str, Any]] = json.load(file)["services"]
    except (OSError, ValueError, KeyError):
        return []
    return found


def host_pids(init_pid: int) -> dict[int, int]:
    """Pids inside a node to pids on the host, of PID 1's children."""
    result = {}
    with contextlib.suppress(OSError), open(f"/proc/{init_pid}/task/{init_pid}/children", encoding="ascii") as file:
        for child in file.read().split():
            with contextlib.suppress(OSError, ValueError), open(f"/proc/{child}/status", encoding="utf-8") as status:
                inner = next(line for line in status if line.startswith("NSpid:")).split()[-1]
                result[int(inner)] = int(child)
    return result


def _line(name: str, pid: int, state: str, healthy: bool, restarts: int, ended: str) -> ProcessReport:
    pss_bytes, cpu_s, up_s = usage(pid) if pid else (0, 0.0, 0.0)
    return ProcessReport(name, pid, state, healthy and pid != 0, restarts, ended, pss_bytes, cpu_s, up_s)


def usage(pid: int) -> tuple[int, float, float]:
    """Memory in bytes (PSS), processor seconds, seconds since its start; zeros for one that is gone."""
    pss_bytes, cpu_s, up_s = 0, 0.0, 0.0
    with contextlib.suppress(OSError, StopIteration), open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        pss_bytes = int(next(line for line in file if line.startswith("Pss:")).split()[1]) << 10
    with contextlib.suppress(OSError), open(f"/proc/{pid}/stat", "rb") as stat, open("/proc/uptime", "rb") as uptime:
        fields = stat.read().rpartition(b")")[2].split()
        cpu_s = (int(fields[11]) + int(fields[12])) / TICKS_PER_S
        up_s = float(uptime.read().split()[0]) - int(fields[19]) / TICKS_PER_S
    return pss_bytes, round(cpu_s, 2), round(up_s, 2)


async def _probed(namespace: str, probe: Probe | None, pid: int) -> bool:
    if not pid:
        return False
    if probe is None:
        return True
    return await asyncio.to_thread(_answers_tls, namespace, probe)


def _answers_tls(namespace: str, probe: Probe) -> bool:
    """Whether a server completes a TLS handshake, with a certificate of the cluster.

    A process that hangs accepts connections but does not; one with another's certificate is of use to nobody.
    """
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False

    def shake() -> bool:
        with (
            socket.create_connection((probe.host, probe.port), timeout=PROBE_TIMEOUT_S) as sock,
            context.wrap_socket(sock, server_hostname=probe.host),
        ):
            return True

    try:
        context.load_verify_locations(probe.ca)
        context.load_cert_chain(probe.identity + ".crt", probe.identity + ".key")
        return netns.inside(namespace, shake) if namespace else shake()
    except OSError:
        return False
