"""Keeps the admission webhook served and registered while this replica leads."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

from argosy.controller import Context, Controller, Loop
from control_plane.autoscaler.config import Config
from control_plane.autoscaler.vertical.installing import register_webhook
from control_plane.autoscaler.vertical.recommender import AUTOSCALERS
from control_plane.autoscaler.vertical.targets import selector_of
from control_plane.autoscaler.vertical.webhook import PATH, AdmissionWebhook


class Admitter(Controller[Config]):
    name = "vpa-admission"
    watches = (AUTOSCALERS,)
    writes = ()

    def __init__(self, context: Context[Config]) -> None:
        super().__init__(context)
        self._webhook = AdmissionWebhook(self.informer(AUTOSCALERS).list, partial(selector_of, self._client))

    async def reconcile(self, key: str) -> float | None:
        return None

    def loops(self) -> tuple[Loop, ...]:
        return (self._serve,) if self.config.webhook_listen else ()

    async def _serve(self) -> None:
        config = self.config
        serving = asyncio.ensure_future(
            self._webhook.serve(config.webhook_listen, config.webhook_certificate, config.webhook_key)
        )
        try:
            authority = await asyncio.to_thread(Path(config.ca).read_text, "ascii")
            await register_webhook(self._client, f"https://{config.webhook_listen}{PATH}", authority)
            await serving
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)
