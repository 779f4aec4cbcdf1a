"""ScaledObject: asks its triggers, period by period, and sets the target's replicas."""

from __future__ import annotations

import base64
import binascii
from typing import ClassVar, Final

from argosy.client import Resource
from argosy.controller import Context, Controller, ResourceName
from argosy.host import parse_rfc3339, rfc3339
from argosy.objects import conditions, meta
from argosy.objects.status import ApiError
from argosy.objects.types import JsonObject
from argosy.service_lookup import SLICES, NoEndpoint, ServiceLookup
from control_plane.autoscaler.config import Config
from control_plane.autoscaler.events.definitions import GROUP, VERSION
from control_plane.autoscaler.events.queues import QueueError, Queues, RedisQueues
from control_plane.autoscaler.events.scaling import Decision, Limits, decide, steadied
from control_plane.autoscaler.events.triggers import (
    CronTrigger,
    Demand,
    RedisTrigger,
    Trigger,
    TriggerError,
    parse,
)
from control_plane.autoscaler.pods.behavior import History
from control_plane.autoscaler.statuses import write_status
from control_plane.autoscaler.targets import UnknownKind, resource_of

SCALED_OBJECTS: Final = ResourceName(GROUP, VERSION, "scaledobjects")
ENDPOINT_SLICES: Final = ResourceName(*SLICES)
SECRETS: Final = ResourceName("", "v1", "secrets")


class ScaledObjectController(Controller[Config]):
    name = "event-driven-scaler"
    watches = (SCALED_OBJECTS, ENDPOINT_SLICES)
    writes = (SCALED_OBJECTS,)
    queues: ClassVar[Queues] = RedisQueues()

    def __init__(self, context: Context[Config]) -> None:
        super().__init__(context)
        self._objects = self.informer(SCALED_OBJECTS)
        self._services = ServiceLookup(self.informer(ENDPOINT_SLICES))
        self._objects.add_handler(added=self.enqueue, updated=self._changed, deleted=self._gone)
        self._histories: dict[str, History] = {}

    @property
    def workers(self) -> int:
        return self.config.concurrent_scaled_object_syncs

    def _changed(self, old: JsonObject, new: JsonObject) -> None:
        # Its own writes of status are no reason to ask the triggers again.
        if meta.spec(old) != meta.spec(new):
            self.enqueue(new)

    def _gone(self, obj: JsonObject) -> None:
        self._histories.pop(meta.key(obj), None)

    async def reconcile(self, key: str) -> float | None:
        item = self._objects.get(key)
        if item is None or meta.is_deleting(item):
            return None
        spec = meta.spec(item)
        try:
            triggers = parse(spec["triggers"])
            resource = await resource_of(self._client, spec["scaleTargetRef"])
            scale = await resource.get(
                spec["scaleTargetRef"]["name"], namespace=meta.namespace(item), subresource="scale"
            )
        except (TriggerError, UnknownKind, ApiError) as error:
            said = error.message if isinstance(error, ApiError) else str(error)
            await self._say(item, "ScaledObjectCheckFailed", said)
            return float(spec["pollingInterval"])
        demands, problems = await self._ask(item, triggers)
        await self._scale(item, resource, scale, demands, problems)
        return float(spec["pollingInterval"])

    async def _ask(self, item: JsonObject, triggers: list[Trigger]) -> tuple[list[Demand | None], list[str]]:
        demands: list[Demand | None] = []
        problems: list[str] = []
        for trigger in triggers:
            try:
                demands.append(await self._demand(meta.namespace(item), trigger))
            except (QueueError, NoEndpoint, ApiError) as error:
                demands.append(None)
                problems.append(error.message if isinstance(error, ApiError) else str(error))
        return demands, problems

    async def _demand(self, namespace: str, trigger: Trigger) -> Demand:
        if isinstance(trigger, CronTrigger):
            return trigger.demand(self.host.clock.now())
        host, port = self._services.resolve(trigger.host, trigger.port)
        return trigger.demand(await self.queues.length(trigger, host, port, await self._password(namespace, trigger)))

    async def _password(self, namespace: str, trigger: RedisTrigger) -> str:
        if trigger.secret is None:
            return ""
        name, key = trigger.secret
        secret = await self.reader(SECRETS).get(name, namespace=namespace)
        text = (secret.get("data") or {}).get(key)
        if text is None:
            raise QueueError(f"the Secret {name} has no key {key}")
        try:
            return base64.b64decode(text).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise QueueError(f"the key {key} of the Secret {name} is no text") from None

    async def _scale(
        self,
        item: JsonObject,
        resource: Resource,
        scale: JsonObject,
        demands: list[Demand | None],
        problems: list[str],
    ) -> None:
        spec, status, now_s = meta.spec(item), meta.status(item), self.host.clock.now()
        current = int(meta.spec(scale).get("replicas") or 0)
        failures = int(status.get("failures") or 0) + 1 if problems else 0
        last = status.get("lastActiveTime") or meta.metadata(item).get("creationTimestamp")
        idle_s = now_s - parse_rfc3339(str(last)) if last else 0.0
        limits, history = _limits(spec), self._histories.setdefault(meta.key(item), History())
        decision = decide(current, demands, limits, failures=failures, idle_s=idle_s)
        decision = steadied(decision, current, limits, history, now_s)
        if decision.replicas != current:
            new = {**scale, "spec": {**meta.spec(scale), "replicas": decision.replicas}}
            try:
                await resource.update(new, subresource="scale")
            except ApiError as error:
                await self._say(item, "ScaleFailed", error.message)
                return
            self._tell(item, current, decision.replicas)
        if any(demand is not None and demand.active for demand in demands):
            last = rfc3339(now_s)
        await self._report(item, decision, problems, failures, str(last or ""))

    def _tell(self, item: JsonObject, old: int, new: int) -> None:
        reference = meta.spec(item)["scaleTargetRef"]
        target = f"{reference['apiVersion']}.{reference['kind']} {meta.namespace(item)}/{reference['name']}"
        reason = "ScaleTargetScaled"
        if old == 0:
            reason = "ScaleTargetActivated"
        elif new == 0:
            reason = "ScaleTargetDeactivated"
        self.events.event(item, "Normal", reason, f"Scaled {target} from {old} to {new}")

    async def _report(
        self, item: JsonObject, decision: Decision, problems: list[str], failures: int, last: str
    ) -> None:
        now = rfc3339(self.host.clock.now())
        said: list[JsonObject] = list(meta.status(item).get("conditions") or ())
        ready = ("TriggerError", "; ".join(problems)) if problems else ("ScaledObjectReady", "triggers were asked")
        active = ("ScalerActive", "there is work") if decision.active else ("ScalerNotActive", "there is no work")
        fallback = ("FallbackExists", "too many failures") if decision.fallback else ("NoFallbackFound", "")
        for type_, value, (reason, message) in (
            ("Ready", not problems, ready),
            ("Active", decision.active, active),
            ("Fallback", decision.fallback, fallback),
        ):
            said = conditions.with_condition(said, conditions.make(type_, value, now, reason, message))
        if problems:
            self.events.event(item, "Warning", "TriggerError", "; ".join(problems))
        status: JsonObject = {"replicas": decision.replicas, "failures": failures, "conditions": said}
        await write_status(
            self.writer(SCALED_OBJECTS), item, {**status, **({"lastActiveTime": last} if last else {})}
        )

    async def _say(self, item: JsonObject, reason: str, message: str) -> None:
        """It cannot do its work."""
        self.events.event(item, "Warning", reason, message)
        made = conditions.make("Ready", False, rfc3339(self.host.clock.now()), reason, message)
        said = conditions.with_condition(list(meta.status(item).get("conditions") or ()), made)
        await write_status(self.writer(SCALED_OBJECTS), item, {**meta.status(item), "conditions": said})


def _limits(spec: JsonObject) -> Limits:
    fallback = spec.get("fallback")
    behavior = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    return Limits(
        int(spec["minReplicaCount"]),
        int(spec["maxReplicaCount"]),
        float(spec["cooldownPeriod"]),
        float(behavior["scaleDown"]["stabilizationWindowSeconds"]),
        (int(fallback["failureThreshold"]), int(fallback["replicas"])) if fallback else None,
    )
