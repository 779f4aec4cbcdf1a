"""Match conditions of webhooks: CEL expressions, all of which must be true for a request to be sent.

Rules: k8s.io/apiserver `pkg/admission/plugin/webhook/matchconditions`. The variable `authorizer` does not exist
here: an expression that uses it is refused when the configuration is written.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Final

from argosy.kinds.webhook_configuration import GROUP, MUTATING, VALIDATING
from argosy.objects import meta
from argosy.objects import status as errors
from argosy.objects.types import JsonObject
from control_plane.apiserver.admission.chain import Attributes, Operation, Plugin
from control_plane.apiserver.cel.environment import CelError, Environment, Expression

COMPILED_MAX: Final = 1000
VARIABLES: Final = {"object": "dyn", "oldObject": "dyn", "request": "dyn"}


class Conditions:
    def __init__(self) -> None:
        self._environment: Environment | None = None
        self._compiled: OrderedDict[str, Expression] = OrderedDict()

    def compile(self, text: str) -> Expression:
        """Raises CelError."""
        found = self._compiled.get(text)
        if found is None:
            if self._environment is None:
                self._environment = Environment(VARIABLES)
            found = self._environment.compile(text)
            if found.type not in ("BOOL", "DYN"):
                raise CelError("must evaluate to bool")
            self._compiled[text] = found
            if len(self._compiled) > COMPILED_MAX:
                self._compiled.popitem(last=False)
        return found

    def match(self, hook: JsonObject, request: JsonObject) -> bool:
        """Whether a review's request meets all conditions; one that is false outweighs faults. Raises CelError."""
        fault: CelError | None = None
        data: dict[str, Any] = {
            "object": request.get("object"),
            "oldObject": request.get("oldObject"),
            "request": {key: value for key, value in request.items() if key not in ("object", "oldObject")},
        }
        for condition in hook.get("matchConditions") or ():
            try:
                if self.compile(str(condition.get("expression"))).evaluate(data) is not True:
                    return False
            except CelError as error:
                fault = fault or CelError(f"expression '{condition.get('expression')}' resulted in error: {error}")
        if fault is not None:
            raise fault
        return True


class WebhookConfigurations(Plugin):
    """Conditions are compiled when their configuration is written."""

    name = "WebhookConfigurations"

    def __init__(self, conditions: Conditions) -> None:
        self._conditions = conditions

    async def validate(self, attributes: Attributes) -> None:
        """Raises ApiError 422."""
        obj = attributes.obj
        if obj is None or attributes.operation is Operation.DELETE:
            return
        if attributes.kind.group != GROUP or attributes.kind.plural not in (MUTATING, VALIDATING):
            return
        found: list[errors.FieldError] = []
        for index, hook in enumerate(obj.get("webhooks") or ()):
            for place, condition in enumerate(hook.get("matchConditions") or ()):
                text = str(condition.get("expression"))
                try:
                    self._conditions.compile(text)
                except CelError as error:
                    path = f"webhooks[{index}].matchConditions[{place}].expression"
                    found.append(errors.invalid_value(path, text, f"compilation failed: {error}"))
        if found:
            raise errors.invalid(GROUP, attributes.kind.kind, meta.name(obj), found)
