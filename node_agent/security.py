"""From pod and container security contexts to the runtime's; pure. What a node cannot give is refused by name."""

from __future__ import annotations

import posixpath
from dataclasses import replace

from argosy.objects import meta
from argosy.objects.types import JsonObject
from node_agent.environment import ConfigError
from node_agent.observed import Observed
from node_agent.runtime.runtime import Image, Namespace, Profile, Security, SecurityProfile

MASKED_PATHS = (
    "/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
    "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware",
    "/sys/devices/virtual/powercap",
)  # fmt: skip
SECCOMP_ROOT = "/var/lib/kubelet/seccomp"
"""Where upstream's nodes have profiles, and what installs them puts them."""
READONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


def namespaces(pod: JsonObject) -> tuple[Namespace, Namespace, Namespace]:
    """(network, pid, ipc)"""
    spec = meta.spec(pod)
    pid = Namespace.CONTAINER
    if spec.get("hostPID"):
        pid = Namespace.NODE
    elif spec.get("shareProcessNamespace"):
        pid = Namespace.POD
    return (
        Namespace.NODE if spec.get("hostNetwork") else Namespace.POD,
        pid,
        Namespace.NODE if spec.get("hostIPC") else Namespace.POD,
    )


def _profile(value: JsonObject | None, field: str) -> SecurityProfile | None:
    if value is None:
        return None
    kind = value.get("type")
    if kind == "RuntimeDefault":
        return SecurityProfile(Profile.RUNTIME_DEFAULT)
    if kind == "Unconfined":
        return SecurityProfile(Profile.UNCONFINED)
    if kind == "Localhost":
        return SecurityProfile(Profile.LOCALHOST, str(value.get("localhostProfile", "")))
    raise ConfigError(f"{field} type {kind!r} is not supported")


def _refuse(context: JsonObject, where: str) -> None:
    for field in ("windowsOptions", "seLinuxOptions"):
        if context.get(field):
            raise ConfigError(f"{where}.securityContext.{field} is not supported on this node")


def sandbox_security(pod: JsonObject) -> Security:
    """Raises ConfigError."""
    context = meta.spec(pod).get("securityContext") or {}
    _refuse(context, "pod")
    if meta.spec(pod).get("resourceClaims"):
        raise ConfigError("pod.spec.resourceClaims is not supported on this node")
    if meta.spec(pod).get("hostUsers") is False:
        raise ConfigError("pod.spec.hostUsers=false (user namespaces) is not supported on this node")
    network, pid, ipc = namespaces(pod)
    containers = [*(meta.spec(pod).get("initContainers") or []), *(meta.spec(pod).get("containers") or [])]
    groups = list(context.get("supplementalGroups") or [])
    if context.get("fsGroup") is not None:
        groups.append(context["fsGroup"])
    return Security(
        privileged=any((item.get("securityContext") or {}).get("privileged") for item in containers),
        run_as_user=context.get("runAsUser", None if context.get("runAsGroup") is None else 0),
        run_as_group=context.get("runAsGroup"),
        supplemental_groups=tuple(groups),
        seccomp=SecurityProfile(Profile.RUNTIME_DEFAULT),  # of pause alone: the pod's own may forbid what starts it
        network=network,
        pid=pid,
        ipc=ipc,
    )


def container_security(pod: JsonObject, container: JsonObject, image: Image) -> Security:
    """Raises ConfigError, also when runAsNonRoot forbids the image's user."""
    outer = meta.spec(pod).get("securityContext") or {}
    inner = container.get("securityContext") or {}
    _refuse(inner, f"container {container['name']}")
    user = inner.get("runAsUser", outer.get("runAsUser"))
    username = ""
    if user is None:
        user, username = image.uid, image.username
        if user is None and not username:
            user = 0
    if inner.get("runAsNonRoot", outer.get("runAsNonRoot")):
        _check_non_root(pod, container, inner.get("runAsUser", outer.get("runAsUser")), image)
    capabilities = inner.get("capabilities") or {}
    groups = list(outer.get("supplementalGroups") or [])
    if outer.get("fsGroup") is not None:
        groups.append(outer["fsGroup"])
    unmasked = inner.get("procMount") == "Unmasked"
    privileged = bool(inner.get("privileged"))
    network, pid, ipc = namespaces(pod)
    seccomp = _profile(inner.get("seccompProfile") or outer.get("seccompProfile"), "seccompProfile")
    if seccomp is not None and seccomp.type is Profile.LOCALHOST:
        seccomp = replace(seccomp, localhost_ref=posixpath.join(SECCOMP_ROOT, seccomp.localhost_ref))
    bare = privileged or unmasked
    return Security(
        privileged=privileged,
        run_as_user=user,
        run_as_group=inner.get("runAsGroup", outer.get("runAsGroup")),
        run_as_username=username if user is None else "",
        supplemental_groups=tuple(groups),
        readonly_rootfs=bool(inner.get("readOnlyRootFilesystem")),
        no_new_privileges=inner.get("allowPrivilegeEscalation") is False,
        add_capabilities=tuple(capabilities.get("add") or ()),
        drop_capabilities=tuple(capabilities.get("drop") or ()),
        seccomp=seccomp or SecurityProfile(Profile.UNCONFINED),
        apparmor=_profile(inner.get("appArmorProfile") or outer.get("appArmorProfile"), "appArmorProfile"),
        masked_paths=() if bare else MASKED_PATHS,
        readonly_paths=() if bare else READONLY_PATHS,
        network=network,
        pid=pid,
        ipc=ipc,
    )


def share_target(security: Security, container: JsonObject, seen: Observed) -> Security:
    """An ephemeral container may see the processes of the container that it is to debug. Raises ConfigError."""
    name = container.get("targetContainerName")
    if not name:
        return security
    target = seen.active(str(name))
    if target is None:
        raise ConfigError(f"unable to find target container {name}")
    return replace(security, pid=Namespace.TARGET, target_id=target.id)


def _check_non_root(pod: JsonObject, container: JsonObject, user: int | None, image: Image) -> None:
    where = f'(pod: "{meta.name(pod)}_{meta.namespace(pod)}({meta.uid(pod)})", container: {container["name"]})'
    if user is not None:
        if user == 0:
            raise ConfigError(f"container's runAsUser breaks non-root policy {where}")
        return
    if image.uid == 0 or (image.uid is None and not image.username):
        raise ConfigError(f"container has runAsNonRoot and image will run as root {where}")
    if image.username:
        raise ConfigError(
            f"container has runAsNonRoot and image has non-numeric user ({image.username}), "
            f"cannot verify user is non-root {where}"
        )
