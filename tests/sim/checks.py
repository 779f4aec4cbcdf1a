"""What must be true of a run, found out afterwards from the ledger and from what is there in the end."""

from __future__ import annotations

from collections.abc import Iterator

import orjson

from argosy.client import Client
from argosy.objects import conditions, meta, quantity
from argosy.objects.types import JsonObject
from etcd.history import Item
from tests.sim import writers
from tests.sim.world import NODES, World
from tests.sim.writers import Book

PODS = b"/registry/pods/default/"
NODE_KEYS = b"/registry/nodes/"
SLICES = b"/registry/discovery.k8s.io/endpointslices/default/web"
ENDPOINTS = b"/registry/endpoints/default/web"


def writes(world: World, book: Book) -> None:
    """Acknowledged writes are in the ledger where the answer said, nothing else is, and nothing comes back."""
    ledger = world.ledger
    for number in ledger.missing():
        world.violation(f"revision {number} holds nothing")
    for attempt in book.attempts.values():
        if attempt.revision:
            item = ledger.changes.get(attempt.revision, {}).get(writers.PREFIX + attempt.name.encode())
            if item is None or not item.version or _value(item) != attempt.value:
                world.violation(f"acknowledged and lost: {attempt}")
    newest: dict[bytes, Item] = {}
    written: dict[str, int] = {}
    for item in ledger.items(writers.PREFIX):
        if item.version:
            _check_write(world, book, newest.get(item.key), item, written)
        newest[item.key] = item
    for name in book.deleted:
        if newest[writers.PREFIX + name.encode()].version:
            world.violation(f"{name} is back although its deletion was acknowledged")


def _check_write(world: World, book: Book, old: Item | None, item: Item, written: dict[str, int]) -> None:
    value, revision = _value(item), item.mod_revision
    name = item.key[len(writers.PREFIX) :].decode()
    attempt = book.attempts.get(value)
    if name == "kube-root-ca.crt":
        return
    if attempt is None or attempt.name != name:
        world.violation(f"nobody wrote {value!r} to {name}, which is there at {revision}")
        return
    if attempt.revision and revision > attempt.revision:
        world.violation(f"{attempt} was done again at {revision}")
    if attempt.version and (old is None or str(old.mod_revision) != attempt.version):
        world.violation(f"{attempt} was done at {revision} over {old.mod_revision if old else 'nothing'}")
    if attempt.version and value in written:
        world.violation(f"{attempt} was done twice, at {written[value]} and {revision}")
    written[value] = revision


def pods(world: World) -> None:
    """No pod moves to another node, and no node runs more than it has; an endpoint was such a pod's address."""
    nodes: dict[str, str] = {}
    addresses: dict[tuple[str, str], None] = {}
    running: dict[str, tuple[str, float]] = {}
    allocatable: dict[str, float] = {}
    for item in world.ledger.items():
        key = item.key
        if key.startswith(NODE_KEYS) and item.version:
            status = orjson.loads(item.value).get("status") or {}
            if "allocatable" in status:
                name = key[len(NODE_KEYS) :].decode()
                allocatable[name] = _cpus(status["allocatable"])
        elif key.startswith(PODS):
            pod: JsonObject = orjson.loads(item.value) if item.version else {}
            _check_node(world, nodes, pod, item)
            for address in (pod.get("status") or {}).get("podIPs") or ():
                addresses[meta.uid(pod), address["ip"]] = None
            _check_room(world, running, allocatable, pod, key.decode())
        elif item.version and key.startswith((SLICES, ENDPOINTS)):
            for uid, address in _targets(orjson.loads(item.value)):
                if (uid, address) not in addresses:
                    world.violation(f"{key!r} has {address} at {item.mod_revision}, which pod {uid} never had")


def _check_node(world: World, nodes: dict[str, str], pod: JsonObject, item: Item) -> None:
    name = str(meta.spec(pod).get("nodeName") or "") if pod else ""
    if name and nodes.setdefault(meta.uid(pod), name) != name:
        world.violation(f"{item.key!r} was bound to {nodes[meta.uid(pod)]}, then to {name}")
    if pod and not name and meta.uid(pod) in nodes:
        world.violation(f"{item.key!r} lost its node at {item.mod_revision}")


def _check_room(
    world: World, running: dict[str, tuple[str, float]], allocatable: dict[str, float], pod: JsonObject, key: str
) -> None:
    """`running` has each running pod's node and CPUs."""
    running.pop(key, None)
    if not pod or (pod.get("status") or {}).get("phase") != "Running":
        return
    node = str(meta.spec(pod)["nodeName"])
    cpus = sum(_cpus(container["resources"]["requests"]) for container in meta.spec(pod)["containers"])
    running[key] = (node, cpus)
    used = sum(cpus for name, cpus in running.values() if name == node)
    if used > allocatable.get(node, 0.0):
        world.violation(f"{node} runs {used} CPUs of {allocatable.get(node)}")


def _cpus(resources: JsonObject) -> float:
    return quantity.parse(resources["cpu"]).milli / 1000


def _targets(obj: JsonObject) -> Iterator[tuple[str, str]]:
    """(pod uid, address) of an EndpointSlice or Endpoints."""
    for endpoint in obj.get("endpoints") or ():
        for address in endpoint["addresses"]:
            yield endpoint["targetRef"]["uid"], address
    for subset in obj.get("subsets") or ():
        for entry in (*(subset.get("addresses") or ()), *(subset.get("notReadyAddresses") or ())):
            yield entry["targetRef"]["uid"], entry["ip"]


async def at_rest(client: Client, world: World, desired: JsonObject) -> str:
    """What is still missing for everything to be as asked for; empty when it is."""
    found = (await client.resource("", "v1", "nodes").list()).items
    healthy = [node for node in found if conditions.is_true(node, "Ready") and not meta.spec(node).get("taints")]
    ready = [meta.name(node) for node in healthy]
    if sorted(ready) != list(NODES):
        return f"ready nodes: {ready}"
    live = (await client.resource("", "v1", "pods").list(namespace="default")).items
    states = {meta.name(pod): _pod_state(world, pod, desired) for pod in live}
    if len(live) != desired["replicas"] or any(states.values()):
        return f"{desired} wanted, pods: {states}"
    deployment = await client.resource("apps", "v1", "deployments").get("web", namespace="default")
    status = deployment["status"]
    counts = [status.get(key) for key in ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")]
    if counts != [desired["replicas"]] * 4 or status["observedGeneration"] != deployment["metadata"]["generation"]:
        return f"deployment: {status}"
    addresses = sorted(pod["status"]["podIP"] for pod in live)
    slices = (await client.resource("discovery.k8s.io", "v1", "endpointslices").list(namespace="default")).items
    served = sorted(
        address
        for each in slices
        if meta.labels(each).get("kubernetes.io/service-name") == "web"
        for endpoint in each["endpoints"] or ()
        if endpoint["conditions"]["ready"]
        for address in endpoint["addresses"]
    )
    if served != addresses:
        return f"ready pods {addresses}, endpoint slices {served}"
    endpoints = await client.resource("", "v1", "endpoints").get("web", namespace="default")
    subsets = endpoints.get("subsets") or ()
    shown = sorted(entry["ip"] for subset in subsets for entry in subset.get("addresses") or ())
    if shown != addresses:
        return f"ready pods {addresses}, endpoints {shown}"
    own = await client.resource("", "v1", "endpoints").get("kubernetes", namespace="default")
    servers = sorted(entry["ip"] for subset in own.get("subsets") or () for entry in subset["addresses"])
    if servers != [f"10.77.2.{number + 1}" for number in range(len(world.apis))]:
        return f"API servers {servers}"
    return ""


def _pod_state(world: World, pod: JsonObject, desired: JsonObject) -> str:
    """What is wrong with it; empty when it is ready, of the wanted version, and really there on its node."""
    if meta.metadata(pod).get("deletionTimestamp"):
        return "terminating"
    if not conditions.is_true(pod, "Ready"):
        return f"not ready on {meta.spec(pod).get('nodeName')}"
    if meta.labels(pod).get("version") != desired["version"]:
        return "of another version"
    sandboxes = world.runtimes[meta.spec(pod)["nodeName"]].sandboxes()
    real = [address for box in sandboxes if box.uid == meta.uid(pod) and box.ready for address in box.ips]
    return "" if real == [pod["status"]["podIP"]] else f"says {pod['status']['podIP']}, has {real}"


async def caches(client: Client, world: World, watched: dict[str, dict[str, JsonObject]], plural: str) -> None:
    """Copies kept by watches are what a quorum read gives. `watched` is objects by watcher and name."""
    found = {
        meta.name(item): item for item in (await client.resource("", "v1", plural).list(namespace="default")).items
    }
    for watcher, objects in watched.items():
        if objects != found:
            different = [name for name in {**found, **objects} if found.get(name) != objects.get(name)]
            world.violation(f"{watcher} has other {plural} than the store: {different}")


def members(world: World) -> bool:
    """All members have applied the same; a difference is a violation. False: not yet as far."""
    found = list(world.members.values())
    if len(found) < 3 or not all(hasattr(member, "raft") for member in found):
        return False
    if len({member.raft.applied_index for member in found}) > 1:
        return False
    if len({member.machine.hash(0) for member in found}) > 1:
        world.violation("the members' states differ")
    return True


def _value(item: Item) -> str:
    return writers.value_of(orjson.loads(item.value))
