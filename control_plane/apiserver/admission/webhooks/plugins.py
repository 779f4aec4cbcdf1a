"""The two admission plug-ins that ask webhooks: mutating ones one after another, validating ones all at once.

Rules and messages: k8s.io/apiserver `pkg/admission/plugin/webhook/{mutating,validating}/dispatcher.go`. Whatever a
webhook does or fails to do ends in an answer to the client: a patch, a refusal, or what its failurePolicy says.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from argosy import logs
from argosy.host import Rng
from argosy.kinds.webhook_configuration import MUTATING, VALIDATING
from argosy.objects import meta
from argosy.objects import status as errors
from argosy.objects.status import ApiError
from argosy.objects.types import JsonObject
from control_plane.apiserver.admission.chain import Attributes, Operation, Plugin
from control_plane.apiserver.admission.webhooks import review as reviews
from control_plane.apiserver.admission.webhooks.conditions import Conditions
from control_plane.apiserver.admission.webhooks.forms import Forms
from control_plane.apiserver.admission.webhooks.hooks import Hook, Hooks, Wanted
from control_plane.apiserver.cel.environment import CelError
from control_plane.apiserver.resources import Resources
from control_plane.apiserver.schema.schemas import Schemas
from control_plane.apiserver.storage.store import Store
from control_plane.apiserver.webhook_client import WebhookClient, WebhookError

NO_SIDE_EFFECTS: Final = ("None", "NoneOnDryRun")
log = logs.get("apiserver.webhooks")


class CallFailed(Exception):
    """A webhook could not be asked, or answered nonsense: its failurePolicy decides."""


class _Asking(Plugin):
    """What both have in common."""

    plural = ""
    mutating = False

    def __init__(
        self,
        resources: Resources,
        store: Store,
        client: WebhookClient,
        conditions: Conditions,
        schemas: Schemas,
        rng: Rng,
    ) -> None:
        self._hooks = Hooks(resources, self.plural)
        self._namespaces = resources.require("", "namespaces")
        self._store = store
        self._client = client
        self._conditions = conditions
        self._forms = Forms(schemas)
        self._rng = rng

    async def _namespace_labels(self, attributes: Attributes) -> Mapping[str, str] | None:
        """Of the request's namespace; None where there is none. Raises ApiError 404."""
        if attributes.is_for("", "namespaces") and attributes.obj is not None:
            return meta.labels(attributes.obj)
        if not attributes.namespace:
            return None
        entry = self._namespaces.cache.get(attributes.namespace)
        if entry is None:
            stored = await self._store.read(self._namespaces.store_key("", attributes.namespace))
            if stored is None:
                raise errors.not_found("", "namespaces", attributes.namespace)
            entry = self._namespaces.cache.decode(attributes.namespace, stored.value, stored.revision)
        return meta.labels(entry.obj)

    async def _prepared(self, wanted: Wanted, attributes: Attributes) -> JsonObject | None:
        """The review to send; None when a condition is not met. Raises ApiError, CallFailed."""
        hook = wanted.hook
        obj = await self._forms.shown(attributes, wanted.served, attributes.obj)
        old = await self._forms.shown(attributes, wanted.served, attributes.old)
        body = reviews.review(attributes, wanted.served, obj, old, self._rng.uuid(), reviews.version_of(hook.spec))
        try:
            if not self._conditions.match(hook.spec, body["request"]):
                return None
        except CelError as error:
            if hook.ignores_failures:
                log.warning("match conditions failed, failing open", webhook=hook.name, error=error)
                return None
            served = attributes.request.served
            name = attributes.request.name or meta.name(attributes.obj or {})
            raise errors.forbidden(served.group, served.plural, name, str(error)) from None
        if attributes.is_dry_run and hook.spec.get("sideEffects") not in NO_SIDE_EFFECTS:
            raise errors.bad_request(f'admission webhook "{hook.name}" does not support dry run')
        return body

    async def _ask(self, hook: Hook, body: JsonObject, attributes: Attributes) -> reviews.Response | None:
        """An answer that allows; None when the webhook's failure is to be ignored. Raises ApiError."""
        try:
            response = await self._call(hook, body)
        except CallFailed as error:
            text = f'failed calling webhook "{hook.name}": {error}'
            if hook.ignores_failures:
                log.warning("a webhook failed, failing open", webhook=hook.name, error=error)
                return None
            log.warning("a webhook failed, failing closed", webhook=hook.name, error=error)
            raise errors.internal(text) from None
        for text in response.warnings:
            attributes.request.warn(text)
        if not response.allowed:
            raise reviews.denial(hook.name, response.result)
        return response

    async def _call(self, hook: Hook, body: JsonObject) -> reviews.Response:
        """Raises CallFailed."""
        timeout_s = float(hook.spec.get("timeoutSeconds") or 10)
        try:
            answer = await self._client.post(hook.spec["clientConfig"], body, timeout_s=timeout_s)
        except WebhookError as error:
            raise CallFailed(f"failed to call webhook: {error}") from None
        version = body["apiVersion"].rpartition("/")[2]
        try:
            return reviews.response_of(answer, body["request"]["uid"], version, mutating=self.mutating)
        except reviews.BadResponse as error:
            raise CallFailed(f"received invalid webhook response: {error}") from None


class MutatingWebhooks(_Asking):
    name = "MutatingAdmissionWebhook"
    plural = MUTATING
    mutating = True

    async def mutate(self, attributes: Attributes) -> None:
        """Raises ApiError."""
        hooks = self._hooks.candidates(attributes)
        if not hooks:
            return
        state = attributes.reinvocation
        if state.again and state.last_output is not None and attributes.obj != state.last_output:
            state.due = dict(state.eligible)
        namespace = await self._namespace_labels(attributes)
        for hook in hooks:
            wanted = self._hooks.wanted(hook, attributes, namespace)
            if wanted is None or (state.again and hook.uid not in state.due):
                continue
            body = await self._prepared(wanted, attributes)
            if body is None:
                continue
            response = await self._ask(hook, body, attributes)
            if response is not None and response.has_patch and await self._patch(wanted, body, response, attributes):
                # Those before it have not seen what it made of the object.
                state.due = dict(state.eligible)
                state.wanted = True
            if hook.spec.get("reinvocationPolicy") == "IfNeeded":
                state.eligible[hook.uid] = None
        state.last_output = meta.copy_object(attributes.obj) if attributes.obj is not None else None

    async def _patch(
        self, wanted: Wanted, body: JsonObject, response: reviews.Response, attributes: Attributes
    ) -> bool:
        """Whether the object is another now. Raises ApiError 500 for a patch that makes no sense."""
        if not response.patch:
            return False
        if attributes.obj is None or attributes.operation in (Operation.DELETE, Operation.CONNECT):
            detail = f'admission webhook "{wanted.hook.name}" attempted to modify the object'
            raise errors.internal(f"{detail}, which is not supported for this operation")
        try:
            return await self._forms.patch(attributes, wanted.served, body["request"]["object"], response.patch)
        except ApiError as error:
            raise errors.internal(error.message) from None


class ValidatingWebhooks(_Asking):
    name = "ValidatingAdmissionWebhook"
    plural = VALIDATING

    async def validate(self, attributes: Attributes) -> None:
        """Raises ApiError: the first refusal, in the order of the webhooks."""
        hooks = self._hooks.candidates(attributes)
        if not hooks:
            return
        namespace = await self._namespace_labels(attributes)
        asked: list[tuple[Hook, JsonObject]] = []
        for hook in hooks:
            wanted = self._hooks.wanted(hook, attributes, namespace)
            if wanted is not None and (body := await self._prepared(wanted, attributes)) is not None:
                asked.append((hook, body))
        if len(asked) == 1:
            await self._ask(*asked[0], attributes)
            return
        tasks = [asyncio.ensure_future(self._ask(hook, body, attributes)) for hook, body in asked]
        try:
            for task in tasks:
                await task
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
