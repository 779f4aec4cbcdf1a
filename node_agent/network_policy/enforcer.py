"""Keeps a node's rules as its network policies say: watches policies, pods and namespaces, writes the table.

Pods and namespaces are watched from the first policy on: a cluster without policies pays for one idle watch. Runs in
the node's proxy process, in the node's network namespace, whose rules outlive the process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from argosy import logs
from argosy.client import Client
from argosy.host import Host
from argosy.informer import Informer
from argosy.objects import meta
from argosy.objects.selectors import SelectorError
from argosy.objects.types import JsonObject
from node_agent.network_policy.model import pod_of, policy_of, slim
from node_agent.network_policy.table import PolicyTable
from node_agent.network_policy.world import World
from node_agent.proxy.command import CommandError

log = logs.get("node_agent.network_policy")

GATHER_S: Final = 0.01
"""Changes that come together are written together."""
RETRY_MIN_S: Final = 0.5
RETRY_MAX_S: Final = 30.0
LOOK_AFTER_S: Final = 30.0
"""How often it is seen to that the table is still there, as for the rules of Services."""


class Enforcer:
    """One node's policies. `run` lasts until cancelled."""

    def __init__(self, node: str, host: Host, client: Client, table: PolicyTable) -> None:
        self._table = table
        self._world = World(node)
        self._wake = asyncio.Event()
        self._wanted = asyncio.Event()
        """There is, or was, a policy."""
        self._policies = Informer(client.resource("networking.k8s.io", "v1", "networkpolicies"), host)
        self._pods = Informer(client.resource("", "v1", "pods"), host, transform=slim)
        self._namespaces = Informer(client.resource("", "v1", "namespaces"), host)
        self._follow(self._policies, self._on_policy)
        self._follow(self._pods, lambda obj, gone: self._world.set_pod(meta.key(obj), None if gone else pod_of(obj)))
        self._follow(
            self._namespaces,
            lambda obj, gone: self._world.set_namespace(meta.name(obj), None if gone else dict(meta.labels(obj))),
        )

    def _follow(self, informer: Informer, change: Callable[[JsonObject, bool], None]) -> None:
        def changed(obj: JsonObject, gone: bool) -> None:
            change(obj, gone)
            self._wake.set()

        informer.add_handler(
            added=lambda obj: changed(obj, False),
            updated=lambda _, new: changed(new, False),
            deleted=lambda obj: changed(obj, True),
        )

    def _on_policy(self, obj: JsonObject, gone: bool) -> None:
        self._wanted.set()
        try:
            policy = None if gone else policy_of(obj)
        except (SelectorError, ValueError, TypeError, KeyError, AttributeError):
            log.exception("policy left out: it cannot be understood", policy=meta.key(obj))
            policy = None
        self._world.set_policy(meta.key(obj), policy)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._policies.run())
            await self._policies.wait_synced()
            if not self._wanted.is_set():
                await self._forget_the_past()
                await self._wanted.wait()
            for informer in (self._pods, self._namespaces):
                group.create_task(informer.run())
            await self._pods.wait_synced()
            await self._namespaces.wait_synced()
            group.create_task(self._look_after())
            await self._loop()

    async def _forget_the_past(self) -> None:
        """Rules of an earlier process, whose policies went while none ran."""
        try:
            await self._table.remove()
        except CommandError as error:
            log.warning("rules of policies that are no more may have stayed", error=error)

    async def _loop(self) -> None:
        pause_s = RETRY_MIN_S
        self._wake.set()
        while True:
            await self._wake.wait()
            await asyncio.sleep(GATHER_S)
            self._wake.clear()
            try:
                await self._table.apply(self._world.wanted())
                pause_s = RETRY_MIN_S
            except CommandError as error:
                log.error("policies could not be enforced, trying again", error=error, pause_s=pause_s)
                self._wake.set()
                await asyncio.sleep(pause_s)
                pause_s = min(RETRY_MAX_S, pause_s * 2)

    async def _look_after(self) -> None:
        while True:
            await asyncio.sleep(LOOK_AFTER_S)
            if not await self._table.intact():
                log.info("writing all rules again", reason="rules were taken away")
                self._table.forget()
                self._wake.set()
