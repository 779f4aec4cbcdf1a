"""The node agent's flags, each with its default."""

from __future__ import annotations

from dataclasses import dataclass

from argosy.config import option

EVICTION_HARD = (
    "memory.available<100Mi",
    "nodefs.available<10%",
    "nodefs.inodesFree<5%",
    "imagefs.available<15%",
    "imagefs.inodesFree<5%",
)
"""Upstream's (pkg/kubelet/apis/config/v1beta1, `defaults_linux.go`)."""


@dataclass(frozen=True)
class Config:
    node_name: str = option(help="name of the Node object; the certificate's user is system:node:NAME")
    node_ip: str = option(help="addresses of the node, comma-separated; the first is where it is reached")
    api_servers: tuple[str, ...] = option(help="gRPC addresses of the API servers, host:port,…")
    ca: str = option("", "PEM file of the cluster's authority")
    certificate: str = option("", "PEM file of this node's client certificate")
    key: str = option("", "PEM file of its key")
    runtime_endpoint: str = option("unix:/run/containerd/containerd.sock", "the container runtime, unix:PATH")
    root_dir: str = option("/var/lib/argosy-node", "pods' volumes and the agent's own files")
    image_dir: str = option("/var/lib/containerd", "where the runtime keeps images: whose disk is looked at for them")
    local_path_dir: str = option(
        "/var/lib/local-path", "where volumes of the class local-path are; empty: this node makes none"
    )
    pod_log_dir: str = option("/var/log/pods", "where containers' logs are")
    listen: str = option("", "IP:PORT of the agent's HTTPS API (logs, exec); empty: not served")
    server_certificate: str = option("", "PEM file of the HTTPS API's certificate")
    server_key: str = option("", "PEM file of its key")
    rotate_certificates: bool = option(
        False, "ask the cluster for the serving certificate, and for both certificates anew before they end"
    )
    client_ca: str = option("", "PEM file of the authority of its clients")
    node_cpus: float = option(0.0, "CPUs that the node offers; 0: the machine's")
    node_memory_bytes: int = option(0, "memory that the node offers; 0: the machine's")
    max_pods: int = option(110, "how many pods the node takes")
    node_labels: tuple[str, ...] = option((), "further labels of the Node, KEY=VALUE,…")
    register_with_taints: tuple[str, ...] = option((), "taints of the Node when it registers, KEY=VALUE:EFFECT,…")
    cluster_dns: tuple[str, ...] = option((), "DNS servers of pods, comma-separated")
    cluster_domain: str = option("cluster.local", "domain of services")
    cgroup_root: str = option("/", "cgroup under which pods' cgroups are made, as seen from the hierarchy's root")
    cni_conf_dir: str = option("/etc/cni/net.d", "where the CNI configuration is written")
    cni_data_dir: str = option("/run/cni/networks", "where address leases are kept; must not outlive the node's boot")
    pod_mtu: int = option(0, "MTU of pod links; 0: of the node's link")
    resolv_conf: str = option("/etc/resolv.conf", "the node's resolver configuration, for dnsPolicy Default")
    node_status_update_s: float = option(10.0, "how often the node's status is looked at")
    node_status_report_s: float = option(300.0, "how often it is written though nothing changed")
    node_lease_duration_s: int = option(40, "duration of the node's lease; it is renewed after a quarter of it")
    runtime_relist_s: float = option(10.0, "how often the runtime is asked for all containers while its events flow")
    eviction_hard: tuple[str, ...] = option(
        EVICTION_HARD, "below any of these the node is short, and ends a pod at once: SIGNAL<VALUE,…"
    )
    eviction_soft: tuple[str, ...] = option((), "the same, for those with a grace period")
    eviction_soft_grace_period: tuple[str, ...] = option((), "how long a soft one must be met: SIGNAL=DURATION,…")
    eviction_max_pod_grace_period: int = option(0, "most seconds that a pod gets to end for a soft threshold")
    eviction_monitoring_period_s: float = option(10.0, "how often the node looks for shortages")
    image_gc_high_threshold: float = option(85.0, "percent of the disk in use at which unused images go; 100: never")
    image_gc_low_threshold: float = option(80.0, "percent of the disk in use down to which they go")
    image_gc_period_s: float = option(300.0, "how often that is looked at")
    minimum_image_ttl_s: float = option(120.0, "an image that is younger stays")
    pinned_images: tuple[str, ...] = option((), "images that are never deleted, comma-separated")
    pressure_transition_s: float = option(300.0, "how long a shortage must be over before its condition ends")
    container_log_max_bytes: int = option(10 << 20, "a container's log is rotated at this size")
    container_log_max_files: int = option(5, "how many log files a container keeps")
    log_level: str = option("info", "debug, info, warning or error")
    log_file: str = option("", "log to this file instead of stderr")

    @property
    def node_ips(self) -> tuple[str, ...]:
        return tuple(part for part in self.node_ip.split(",") if part)
