"""What every controller is: a declaration of what it watches and writes, and `reconcile(key)`.

    class Greeter(Controller[None]):
        name = "greeter"
        watches = (CONFIG_MAPS,)
        writes = (CONFIG_MAPS,)

        def __init__(self, context: Context[None]) -> None:
            super().__init__(context)
            self.enqueue_changes(self.informer(CONFIG_MAPS))

        async def reconcile(self, key: str) -> float | None: ...

    await run_controllers(Context(None, host, client), [Greeter])

A controller reads state from informer caches, writes through the client, and returns nothing, a number of seconds
after which it wants to come again, or raises to be tried again. The controller manager, the autoscalers and operators
written with the SDK are made of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import ClassVar, Generic, NamedTuple, TypeVar

from argosy import logs
from argosy.client import Client, Resource
from argosy.events import EventRecorder
from argosy.host import Host
from argosy.informer import Informer, InformerFactory
from argosy.objects import meta
from argosy.objects.types import JsonObject
from argosy.queue import WorkQueue, run_workers

log = logs.get("argosy.controller")

C = TypeVar("C")
"""The configuration that a process gives to its controllers."""

Loop = Callable[[], Awaitable[None]]


class ResourceName(NamedTuple):
    group: str
    version: str
    plural: str
    fields: str = ""
    """A field selector, for a controller that needs only some of them in its cache."""


NODE_INDEX = "node"
LABEL_INDEX = "label"
CONTROLLER_INDEX = "controller"
ORPHAN_INDEX = "orphan"


def by_node(pod: JsonObject) -> Iterable[str]:
    node = meta.spec(pod).get("nodeName")
    return (node,) if node else ()


def by_labels(obj: JsonObject) -> Iterable[str]:
    """`namespace/key=value` of each label, so that a selector's objects are found without looking at the others."""
    space = meta.namespace(obj)
    return [f"{space}/{key}={value}" for key, value in meta.labels(obj).items()]


def by_controller(obj: JsonObject) -> Iterable[str]:
    owner = meta.controller_of(obj)
    return (owner["uid"],) if owner else ()


def by_orphanhood(obj: JsonObject) -> Iterable[str]:
    """The namespace of what nobody controls: what a controller may adopt."""
    return () if meta.controller_of(obj) else (meta.namespace(obj),)


class Context(Generic[C]):
    """What a process hands to each of its controllers."""

    def __init__(self, config: C, host: Host, client: Client) -> None:
        self.config = config
        self.host = host
        self.client = client
        self.informers = InformerFactory(client, host)
        self.recorders: list[EventRecorder] = []

    def recorder(self, component: str) -> EventRecorder:
        recorder = EventRecorder(self.client, self.host, component)
        self.recorders.append(recorder)
        return recorder


class Controller(Generic[C]):
    """Subclasses set the class attributes, add handlers in `__init__` and implement `reconcile`."""

    name: ClassVar[str]
    """As in upstream's --controllers, e.g. `replicaset-controller`."""
    watches: ClassVar[tuple[ResourceName, ...]]
    writes: ClassVar[tuple[ResourceName, ...]]

    def __init__(self, context: Context[C]) -> None:
        self.config = context.config
        self.host = context.host
        self.events = context.recorder(self.name)
        self.queue = WorkQueue()
        self._client = context.client
        self._informers = {
            resource: context.informers.informer(*resource[:3], fields=resource.fields) for resource in self.watches
        }
        self._written: dict[str, tuple[Informer, int]] = {}

    @property
    def workers(self) -> int:
        return 1

    def informer(self, resource: ResourceName) -> Informer:
        """Raises KeyError for what the controller does not declare to watch."""
        return self._informers[resource]

    def reader(self, resource: ResourceName) -> Resource:
        """For live reads, past the cache."""
        return self._client.resource(*resource[:3])

    def writer(self, resource: ResourceName) -> Resource:
        """Raises KeyError for what the controller does not declare to write."""
        if resource not in self.writes:
            raise KeyError(f"{self.name} does not declare to write {resource.plural}")
        return self._client.resource(*resource[:3])

    async def reconcile(self, key: str) -> float | None:
        raise NotImplementedError

    def loops(self) -> tuple[Loop, ...]:
        """What runs beside the workers, until cancelled; started when the caches are filled."""
        return ()

    async def run(self) -> None:
        for informer in self._informers.values():
            await informer.wait_synced()
        loop = asyncio.get_running_loop()
        tasks = [loop.create_task(run_workers(self.queue, self.reconcile, count=self.workers, name=self.name))]
        tasks += [loop.create_task(_forever(each)) for each in self.loops()]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def enqueue(self, obj: JsonObject) -> None:
        self.queue.add(meta.key(obj))

    def enqueue_changes(self, informer: Informer) -> None:
        """Every change of the informer's objects makes work under their own keys."""
        informer.add_handler(added=self.enqueue, updated=lambda _old, new: self.enqueue(new), deleted=self.enqueue)

    def wrote(self, key: str, resource: ResourceName, obj: JsonObject) -> None:
        """Remember that working on `key` wrote `obj`, which the cache of `resource` may not show yet."""
        version = meta.resource_version(obj)
        if version.isdigit():
            self._written[key] = (self.informer(resource), int(version))

    def is_behind(self, key: str) -> bool:
        """The cache does not show yet what was written for `key`; its informer will bring it.

        resourceVersions are compared as numbers, as clients may since Kubernetes 1.35 (KEP-5504).
        """
        written = self._written.get(key)
        if written is None:
            return False
        informer, version = written
        if informer.resource_version.isdigit() and int(informer.resource_version) < version:
            return True
        del self._written[key]
        return False


async def _forever(loop: Loop) -> None:
    await loop()
    raise RuntimeError("a controller's loop ended by itself")


async def run_controllers(
    context: Context[C],
    kinds: Sequence[type[Controller[C]]],
    started: Callable[[list[Controller[C]]], None] = lambda _controllers: None,
) -> None:
    """Run one controller of each kind over shared informers, until cancelled or until one fails as a whole.

    A fresh set of controllers and caches is made for each call, so that nothing an old term of leadership believed
    outlives it. `started` is told the controllers.
    """
    controllers = [kind(context) for kind in kinds]
    started(controllers)
    loop = asyncio.get_running_loop()
    tasks = [loop.create_task(_keep(each), name=each.name) for each in controllers]
    tasks += [loop.create_task(recorder.run()) for recorder in context.recorders]
    context.informers.start()
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await context.informers.stop()


async def _keep(controller: Controller[C]) -> None:
    """A controller that fails as a whole ends the process: the supervisor starts it with a clean state."""
    try:
        await controller.run()
    except Exception:
        log.exception("controller failed", controller=controller.name)
        raise
