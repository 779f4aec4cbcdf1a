"""Entry point of the node agent: `python -m node_agent --node-name … --node-ip … --api-servers …`.

Runs inside the node's namespaces. SIGTERM ends the agent and no container.
"""

from __future__ import annotations

import asyncio
import signal
import sys

import uvloop

from argosy import logs
from argosy.client import Client
from argosy.config import parse
from argosy.host import Host, real_host
from argosy.http import StreamHttp
from argosy.rpc import GrpcNetwork, Tls
from node_agent.agent import NodeAgent
from node_agent.certificates import NodeCertificates
from node_agent.cgroups import NodeCgroups
from node_agent.config import Config
from node_agent.facts import BootMark, MachineFacts
from node_agent.files import LogKeeper, NodeFiles
from node_agent.machine import Machine
from node_agent.network.node_network import CniNetwork
from node_agent.probes.prober import NodeProber
from node_agent.runtime.cri import CriRuntime
from node_agent.server import KubeletServer
from node_agent.server_streams import CriStreams
from node_agent.volumes.node_volumes import NodeVolumes

log = logs.get("node_agent")


def real_machine(config: Config, host: Host, network: GrpcNetwork) -> tuple[Machine, CriRuntime]:
    """Raises OSError."""
    runtime = CriRuntime(network.dial(config.runtime_endpoint))
    http, cgroups = StreamHttp(), NodeCgroups(config.cgroup_root)
    machine = Machine(
        runtime=runtime,
        volumes_of=lambda objects: NodeVolumes(config.root_dir, objects, host.clock),
        files=NodeFiles(config.root_dir, config.pod_log_dir, config.cluster_domain, config.resolv_conf),
        cgroups=cgroups,
        facts=MachineFacts(config, cgroups),
        network=CniNetwork(config),
        prober=NodeProber(runtime, http, network),
        http=http,
        boots=BootMark(config.root_dir),
        local_path_dir=config.local_path_dir,
        logs=LogKeeper(config.container_log_max_bytes, config.container_log_max_files),
    )
    return machine, runtime


async def main(config: Config) -> None:
    host, network = real_host(), GrpcNetwork()
    tls = Tls.load(config.ca, config.certificate, config.key) if config.ca else None
    client = Client(network, config.api_servers, tls, field_manager="kubelet")
    machine, runtime = real_machine(config, host, network)
    agent = NodeAgent(config, host, client, machine)
    jobs = [agent.run()]
    certificates: NodeCertificates | None = None
    if config.rotate_certificates:
        certificates = NodeCertificates(config, host, client, agent.registration.registered)
        jobs.append(certificates.run())
    if config.listen:
        usage = NodeCgroups(config.cgroup_root).usage
        server = KubeletServer(config, host, runtime, agent.pods, CriStreams(runtime), config.node_name, usage)
        jobs.append(_serve(server, certificates))
    loop = asyncio.get_running_loop()
    tasks = [loop.create_task(job) for job in jobs]
    whole = asyncio.gather(*tasks)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, whole.cancel)
    try:
        await whole
    except asyncio.CancelledError:
        log.info("node agent ends; containers go on")
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await client.close()


async def _serve(server: KubeletServer, certificates: NodeCertificates | None) -> None:
    if certificates is not None:
        await certificates.serving.wait()
    await server.run()


if __name__ == "__main__":
    settings = parse(Config, "node_agent", "The node agent: runs the pods that are bound to its node.")
    logs.setup(settings.log_level, settings.log_file)
    try:
        uvloop.run(main(settings))
    except (OSError, ValueError) as error:
        sys.exit(f"node_agent: {error}")
