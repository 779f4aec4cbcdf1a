"""Whether an aggregated API answers: what its Service and endpoints say, then a request for its discovery.

Reasons and messages: k8s.io/kube-aggregator `pkg/controllers/status/remote/remote_available_controller.go`.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import Final

from argosy.objects import meta
from argosy.objects.status import ApiError
from argosy.objects.types import JsonObject
from argosy.streaming.http1 import HttpFailure
from control_plane.apiserver.aggregation.connector import AGGREGATOR, Connector
from control_plane.apiserver.aggregation.services import Remote
from control_plane.apiserver.resources import Resources
from control_plane.apiserver.service_endpoints import SERVICE_LABEL, ServiceEndpoints, port_name_of

CHECK_TIMEOUT_S: Final = 5.0
ATTEMPTS: Final = 5
MAX_DISCOVERY_BYTES: Final = 4 << 20


@dataclass(frozen=True)
class Verdict:
    available: bool
    reason: str
    message: str


PASSED: Final = Verdict(True, "Passed", "all checks passed")


class Availability:
    def __init__(self, resources: Resources, endpoints: ServiceEndpoints, connector: Connector) -> None:
        self._services = resources.require("", "services").cache
        self._slices = resources.require("discovery.k8s.io", "endpointslices").cache
        self._endpoints = endpoints
        self._connector = connector

    async def check(self, remote: Remote) -> Verdict:
        return self.routes(remote) or await self._ask(remote)

    def routes(self, remote: Remote) -> Verdict | None:
        """What the cluster's objects say against it; None for nothing."""
        name, space = remote.service, remote.namespace
        where = f'service/{name} in "{space}"'
        service = self._services.get(f"{space}/{name}")
        if service is None:
            return Verdict(False, "ServiceNotFound", f"{where} is not present")
        spec = meta.spec(service.obj)
        if (spec.get("type") or "ClusterIP") != "ClusterIP":
            return None
        port = port_name_of(spec, remote.port)
        if port is None:
            return Verdict(False, "ServicePortError", f"{where} is not listening on port {remote.port}")
        slices = self._slices.select(space)
        if not any(meta.labels(entry.obj).get(SERVICE_LABEL) == name for entry in slices):
            return Verdict(False, "EndpointsNotFound", f"cannot find endpointslices for {where}")
        if not self._endpoints.addresses(space, name, port):
            message = f'endpointslices for {where} have no addresses with port name "{port}"'
            return Verdict(False, "MissingEndpoints", message)
        return None

    async def _ask(self, remote: Remote) -> Verdict:
        """One good answer of a few requests is enough, each to another endpoint where there are several.

        Upstream asks five times at once whatever comes; here the others follow when the first one failed.
        """
        complaint = await self._attempt(remote)
        if not complaint:
            return PASSED
        tasks = [asyncio.ensure_future(self._attempt(remote)) for _ in range(ATTEMPTS - 1)]
        try:
            for task in tasks:
                complaint = await task
                if not complaint:
                    return PASSED
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return Verdict(False, "FailedDiscoveryCheck", complaint)

    async def _attempt(self, remote: Remote) -> str:
        """The complaint, or nothing. The certificate is of no concern here, as upstream has it: requests check it."""
        url = f"https://{remote.host}:{remote.port}{remote.path}"
        missing = f"failing or missing response from {url}: "
        try:
            async with asyncio.timeout(CHECK_TIMEOUT_S):
                answer = await self._connector.open(remote, AGGREGATOR, "GET", remote.path, verify=False)
        except TimeoutError:
            return f'{missing}Get "{url}": context deadline exceeded'
        except ApiError as error:
            return missing + error.message
        try:
            if answer.status < 200 or answer.status >= 300:
                return f"{missing}bad status from {url}: {answer.status}"
            with contextlib.suppress(HttpFailure, TimeoutError):
                async with asyncio.timeout(CHECK_TIMEOUT_S):
                    await answer.read(MAX_DISCOVERY_BYTES)
            return ""
        finally:
            answer.close()


def same(condition: JsonObject | None, verdict: Verdict) -> bool:
    """Whether a condition says this already."""
    return condition is not None and (
        condition.get("status"),
        condition.get("reason") or "",
        condition.get("message") or "",
    ) == (str(verdict.available), verdict.reason, verdict.message)
