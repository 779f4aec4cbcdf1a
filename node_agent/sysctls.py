"""Which kernel settings a pod may have: those that belong to a namespace of its own and harm no neighbour; pure.

Upstream's list and messages (pkg/kubelet/sysctl: safe_sysctls.go, allowlist.go). `admission.py` asks.
"""

from __future__ import annotations

from argosy.objects import meta
from argosy.objects.types import JsonObject

FORBIDDEN = "SysctlForbidden"
SAFE = {
    "kernel.shm_rmid_forced": "ipc",
    "net.ipv4.ip_local_port_range": "net",
    "net.ipv4.tcp_syncookies": "net",
    "net.ipv4.ping_group_range": "net",
    "net.ipv4.ip_unprivileged_port_start": "net",
    "net.ipv4.ip_local_reserved_ports": "net",
    "net.ipv4.tcp_keepalive_time": "net",
    "net.ipv4.tcp_fin_timeout": "net",
    "net.ipv4.tcp_keepalive_intvl": "net",
    "net.ipv4.tcp_keepalive_probes": "net",
    "net.ipv4.tcp_rmem": "net",
    "net.ipv4.tcp_wmem": "net",
}
"""Name to the namespace that it belongs to."""


def dotted(name: str) -> str:
    """`net/ipv4/conf/eth0.1/x` is another way to write it, in which dots belong to a part."""
    first = next((char for char in name if char in "./"), ".")
    return name if first == "." else name.translate(str.maketrans("/.", "./"))


def refusal(pod: JsonObject) -> str:
    """Why the pod's sysctls are not allowed; empty when they are."""
    spec = meta.spec(pod)
    shared = {"net": spec.get("hostNetwork"), "ipc": spec.get("hostIPC")}
    for sysctl in (spec.get("securityContext") or {}).get("sysctls") or []:
        name = dotted(str(sysctl.get("name", "")))
        namespace = SAFE.get(name)
        if namespace is None:
            return f'forbidden sysctl: "{name}" not allowlisted'
        if shared[namespace]:
            return f'forbidden sysctl: "{name}" not allowed with host {namespace} enabled'
    return ""
