"""The API server's flags."""

from __future__ import annotations

from dataclasses import dataclass

from argosy.config import option


@dataclass(frozen=True)
class Config:
    etcd_servers: tuple[str, ...] = option(help="store endpoints, host:port or URLs")
    etcd_ca: str = option("", "PEM file; with it the store is reached over TLS")
    etcd_certificate: str = option("", "client certificate for the store")
    etcd_key: str = option("", "its key")
    listen: tuple[str, ...] = option((), "REST: host:port,…")
    listen_fds: tuple[str, ...] = option((), "REST: numbers of listening sockets that were handed over")
    listen_grpc: tuple[str, ...] = option((), "gRPC: host:port or unix:PATH,…")
    advertise_address: str = option("", "IP under which the cluster reaches this server")
    advertise_port: int = option(6443, "REST port of the advertised address")
    ca: str = option("", "authority of this server's own certificate and of the components'")
    certificate: str = option("", "serving certificate")
    key: str = option("", "its key")
    client_ca: str = option("", "authority of client certificates; the same as --ca when empty")
    kubelet_certificate: str = option("", "client certificate towards node agents")
    kubelet_key: str = option("", "its key")
    proxy_client_certificate: str = option("", "client certificate towards aggregated API servers")
    proxy_client_key: str = option("", "its key")
    requestheader_client_ca: str = option("", "authority of that certificate, published for aggregated API servers")
    apiservice_resync_s: float = option(30.0, "how often aggregated API servers are checked")
    service_account_key: str = option("", "private key (PEM, RSA or P-256) that signs service account tokens")
    service_account_issuer: str = option("https://kubernetes.default.svc.cluster.local", "issuer of the tokens")
    service_cidr: tuple[str, ...] = option(("10.96.0.0/16",), "addresses of Services, one range per IP family")
    node_port_range: str = option("30000-32767", "node ports of Services")
    encryption_provider_config: str = option("", "file with an EncryptionConfiguration: what is sealed in the store")
    encryption_provider_config_automatic_reload: bool = option(False, "follow changes of that file")
    default_not_ready_toleration_seconds: int = option(300, "how long pods stay on nodes that are not ready")
    default_unreachable_toleration_seconds: int = option(300, "how long pods stay on unreachable nodes")
    local_path_storage: bool = option(
        True, "make the default StorageClass local-path when there is none of that name: volumes on the nodes' disks"
    )
    event_ttl_s: float = option(3600.0, "how long Events are kept")
    max_requests_inflight: int = option(400, "reads being answered at once; more get 429")
    max_mutating_requests_inflight: int = option(200, "writes being answered at once; more get 429")
    compaction_interval_s: float = option(300.0, "how often history is dropped; 0: never")
    endpoint_lease_s: float = option(15.0, "an advertised address is dropped this long after its server's last sign")
    log_level: str = option("info", "debug, info, warning or error")
    log_file: str = option("", "file instead of stderr")
