"""Images for containers: pull policy, credentials, back-off between failed pulls (upstream pkg/kubelet/images)."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import re

from argosy import logs
from argosy.objects import meta
from argosy.objects.status import ApiError
from argosy.objects.types import JsonObject
from node_agent import backoff
from node_agent.environment import SECRET
from node_agent.runtime.runtime import Auth, Image, RuntimeFailure, SandboxConfig
from node_agent.seams import Tools

log = logs.get("node_agent.images")

PARALLEL_PULLS = 4
SHOW_FAILURE_S = 2.0
"""ErrImagePull is shown so long, then ImagePullBackOff until the next try."""
_REFERENCE = re.compile(
    r"(?:[a-zA-Z0-9][a-zA-Z0-9.-]*(?::[0-9]+)?/)?[a-z0-9]+(?:(?:\.|_{1,2}|-+|/)[a-z0-9]+)*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@[a-z0-9]+:[0-9a-f]{32,})?"
)


class ImageError(Exception):
    """`reason` is the container's waiting reason; `retry_s` when to look again."""

    def __init__(self, reason: str, message: str, retry_s: float) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.retry_s = retry_s


def with_tag(image: str) -> str:
    """The reference with its default tag. Raises ValueError for what is no reference."""
    if not _REFERENCE.fullmatch(image):
        raise ValueError(f'couldn\'t parse image name "{image}": invalid reference format')
    last = image.rsplit("/", 1)[-1]
    return image if ":" in last or "@" in last else f"{image}:latest"


class Images:
    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._backoff = backoff.Backoff()
        self._slots = asyncio.Semaphore(PARALLEL_PULLS)
        self._last_error: dict[str, str] = {}
        self._failures: dict[str, float] = {}

    def forget(self, pod_uid: str) -> None:
        self._backoff.forget(f"{pod_uid}_")
        for key in [key for key in self._last_error if key.startswith(f"{pod_uid}_")]:
            del self._last_error[key]
            self._failures.pop(key, None)

    async def ensure(self, pod: JsonObject, container: JsonObject, sandbox: SandboxConfig, field_path: str) -> Image:
        """The image, present on the node. Raises ImageError, and RuntimeFailure when the runtime is away."""
        name = str(container.get("image") or "")
        recorder, runtime = self._tools.recorder, self._tools.runtime
        try:
            reference = with_tag(name)
        except ValueError as error:
            message = f'Failed to apply default image tag "{name}": {error}'
            recorder.event(pod, "Warning", "InspectFailed", message, field_path=field_path)
            self._error(pod, "InvalidImageName", field_path)
            raise ImageError("InvalidImageName", message, backoff.MAX_S) from None
        policy = container.get("imagePullPolicy") or ("Always" if reference.endswith(":latest") else "IfNotPresent")
        present = await runtime.image_status(reference)
        if present is not None and policy != "Always":
            message = f'Container image "{name}" already present on machine'
            recorder.event(pod, "Normal", "Pulled", message, field_path=field_path)
            return present
        if policy == "Never":
            message = f'Container image "{name}" is not present with pull policy of Never'
            recorder.event(pod, "Warning", "ErrImageNeverPull", message, field_path=field_path)
            self._error(pod, "ErrImageNeverPull", field_path)
            raise ImageError("ErrImageNeverPull", message, backoff.INITIAL_S)
        return await self._pull(pod, name, reference, sandbox, field_path)

    async def _pull(
        self, pod: JsonObject, name: str, reference: str, sandbox: SandboxConfig, field_path: str
    ) -> Image:
        recorder, clock = self._tools.recorder, self._tools.host.clock
        key = f"{meta.uid(pod)}_{reference}"
        delay_s = self._backoff.delay_s(key)
        wait_s = self._backoff.wait_s(key, self._failures.get(key, 0.0), clock.now())
        shown_s = clock.now() - self._failures.get(key, 0.0)
        if wait_s > 0 and shown_s < SHOW_FAILURE_S:
            raise ImageError("ErrImagePull", self._last_error.get(key, ""), SHOW_FAILURE_S - shown_s)
        if wait_s > 0:
            message = f'Back-off pulling image "{name}"'
            recorder.event(pod, "Normal", "BackOff", message, field_path=field_path)
            self._error(pod, "ImagePullBackOff", field_path)
            raise ImageError("ImagePullBackOff", f"{message}: ErrImagePull: {self._last_error.get(key, '')}", wait_s)
        recorder.event(pod, "Normal", "Pulling", f'Pulling image "{name}"', field_path=field_path)
        asked = clock.monotonic()
        async with self._slots:
            begun = clock.monotonic()
            try:
                image = await self._pull_with_any(pod, reference, sandbox)
            except RuntimeFailure as failure:
                now = clock.now()
                self._backoff.failed(key, now)
                self._failures[key] = now
                self._last_error[key] = failure.message
                message = f'Failed to pull image "{name}": {failure.message}'
                recorder.event(pod, "Warning", "Failed", message, field_path=field_path)
                self._error(pod, "ErrImagePull", field_path)
                log.info("image pull failed", image=reference, error=failure.message, delay_s=delay_s)
                raise ImageError("ErrImagePull", failure.message, SHOW_FAILURE_S) from None
        took, waited = clock.monotonic() - begun, clock.monotonic() - asked
        message = (
            f'Successfully pulled image "{name}" in {_duration(took)} ({_duration(waited)} including waiting). '
            f"Image size: {image.size_bytes} bytes."
        )
        recorder.event(pod, "Normal", "Pulled", message, field_path=field_path)
        return image

    def _error(self, pod: JsonObject, reason: str, field_path: str) -> None:
        self._tools.recorder.event(pod, "Warning", "Failed", f"Error: {reason}", field_path=field_path)

    async def _pull_with_any(self, pod: JsonObject, reference: str, sandbox: SandboxConfig) -> Image:
        """Try each credential for the registry, then none. Raises the last RuntimeFailure."""
        runtime = self._tools.runtime
        last: RuntimeFailure | None = None
        for auth in [*await self._credentials(pod, reference), None]:
            try:
                pulled = await runtime.pull_image(reference, auth, sandbox)
            except RuntimeFailure as failure:
                last = failure
                continue
            image = await runtime.image_status(pulled) or await runtime.image_status(reference)
            if image is None:
                raise RuntimeFailure(f"image {reference} was pulled but is not there")
            return image
        raise last or RuntimeFailure(f"image {reference} was not pulled")

    async def _credentials(self, pod: JsonObject, reference: str) -> list[Auth]:
        """From imagePullSecrets; a secret that is missing or broken is passed over, as upstream does."""
        result: list[Auth] = []
        for entry in meta.spec(pod).get("imagePullSecrets") or []:
            try:
                secret = await self._tools.lookup(SECRET, meta.namespace(pod), str(entry.get("name", "")))
                if secret is not None:
                    result += docker_credentials(secret, reference)
            except (ApiError, ValueError) as error:
                log.warning("image pull secret cannot be used", secret=entry.get("name"), error=error)
        return result


def registry_of(reference: str) -> str:
    first, slash, _ = reference.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return first
    return "docker.io"


def docker_credentials(secret: JsonObject, reference: str) -> list[Auth]:
    """Those of a dockerconfigjson or dockercfg secret that are for the image's registry. Raises ValueError."""
    data = secret.get("data") or {}
    if ".dockerconfigjson" in data:
        entries = json.loads(base64.b64decode(data[".dockerconfigjson"])).get("auths") or {}
    elif ".dockercfg" in data:
        entries = json.loads(base64.b64decode(data[".dockercfg"]))
    else:
        return []
    wanted = registry_of(reference)
    result: list[Auth] = []
    for server, entry in entries.items():
        host = re.sub(r"^https?://", "", server).split("/")[0]
        if host != wanted and not (wanted == "docker.io" and host in ("index.docker.io", "registry-1.docker.io")):
            continue
        user, password = str(entry.get("username", "")), str(entry.get("password", ""))
        if entry.get("auth"):
            try:
                user, _, password = base64.b64decode(entry["auth"]).decode().partition(":")
            except (binascii.Error, UnicodeDecodeError) as error:
                raise ValueError(f"auth of {server}: {error}") from None
        # No server, as upstream: containerd would hold it against the mirror's host, and refuse one with a port.
        result.append(Auth(user, password, "", str(entry.get("identitytoken", ""))))
    return result


def _duration(seconds: float) -> str:
    """As Go prints a duration in whole milliseconds: `35ms`, `1.2s`."""
    if seconds < 1:
        return f"{int(seconds * 1000)}ms"
    if seconds < 60:
        return f"{int(seconds * 1000) / 1000:g}s"
    return f"{int(seconds) // 60}m{int((seconds % 60) * 1000) / 1000:g}s"
