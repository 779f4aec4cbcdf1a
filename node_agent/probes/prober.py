"""The real prober: picks the probe's kind."""

from __future__ import annotations

from argosy import logs
from argosy.http import HttpClient
from argosy.objects.types import JsonObject
from argosy.rpc import Network
from node_agent.probes.exec_probe import probe_exec
from node_agent.probes.grpc_probe import probe_grpc
from node_agent.probes.http_probe import probe_http
from node_agent.probes.probe import Outcome, Result, Subject
from node_agent.probes.tcp_probe import probe_tcp
from node_agent.runtime.runtime import Runtime

log = logs.get("node_agent.probes")


class NodeProber:
    def __init__(self, runtime: Runtime, http: HttpClient, network: Network) -> None:
        self._runtime = runtime
        self._http = http
        self._network = network

    async def probe(self, probe: JsonObject, subject: Subject, timeout_s: float) -> Result:
        try:
            if probe.get("exec"):
                return await probe_exec(self._runtime, probe["exec"], subject, timeout_s)
            if probe.get("httpGet"):
                return await probe_http(self._http, probe["httpGet"], subject, timeout_s)
            if probe.get("tcpSocket"):
                return await probe_tcp(probe["tcpSocket"], subject, timeout_s)
            if probe.get("grpc"):
                return await probe_grpc(self._network, probe["grpc"], subject, timeout_s)
        except Exception as error:
            log.exception("probe failed in an unexpected way", container=subject.container_id[:12])
            return Result(Outcome.UNKNOWN, str(error))
        return Result(Outcome.UNKNOWN, "missing probe handler")
