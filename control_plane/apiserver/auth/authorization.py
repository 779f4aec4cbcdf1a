"""The authorisers in order, and the 403 that says what was asked."""

from __future__ import annotations

from collections.abc import Sequence

from argosy.objects import status as errors
from control_plane.apiserver.auth.attributes import NO_OPINION, Action, Authorizer, Decision


class Authorization:
    def __init__(self, authorizers: Sequence[Authorizer]) -> None:
        self._authorizers = tuple(authorizers)

    def decide(self, action: Action) -> Decision:
        """The first authoriser that allows decides; else no opinion, with the reasons that were given."""
        reasons: list[str] = []
        for authorizer in self._authorizers:
            decision = authorizer.decide(action)
            if decision.allowed:
                return decision
            if decision.reason:
                reasons.append(decision.reason)
        return Decision(False, ", ".join(reasons)) if reasons else NO_OPINION

    def check(self, action: Action) -> None:
        """Raises ApiError 403."""
        decision = self.decide(action)
        if not decision.allowed:
            raise refusal(action, decision.reason)


def refusal(action: Action, reason: str = "") -> errors.ApiError:
    tail = f": {reason}" if reason else ""
    user = f'User "{action.user.name}"'
    if action.path:
        message = f'forbidden: {user} cannot {action.verb} path "{action.path}"{tail}'
        return errors.status_error(403, "Forbidden", message, {})
    scope = f'in the namespace "{action.namespace}"' if action.namespace else "at the cluster scope"
    detail = (
        f'{user} cannot {action.verb} resource "{action.full_resource}" in API group "{action.group}" {scope}{tail}'
    )
    return errors.forbidden(action.group, action.resource, action.name, detail)
