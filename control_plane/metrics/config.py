"""The metrics server's flags. Those that metrics-server and prometheus-adapter have carry their names."""

from __future__ import annotations

from dataclasses import dataclass

from argosy.config import option


@dataclass(frozen=True)
class Config:
    api_servers: tuple[str, ...] = option(help="API servers' gRPC addresses, host:port,…")
    ca: str = option("", "PEM file of the cluster's certificate authority")
    certificate: str = option("", "PEM file of this process's client certificate, shown to nodes and API servers")
    key: str = option("", "PEM file of its key")
    listen: str = option("127.0.0.1:4443", "IP:PORT of the aggregated API")
    server_certificate: str = option("", "PEM file of the certificate of the aggregated API")
    server_key: str = option("", "PEM file of its key")
    log_level: str = option("info", "debug, info, warning or error")
    log_file: str = option("", "write the log here instead of to stderr")

    metric_resolution: float = option(15.0, "seconds between two scrapes of the nodes")
    kubelet_request_timeout: float = option(10.0, "seconds after which a node's answer is given up")
    prometheus_url: str = option(
        "", "where custom and external metrics come from; http://NAME.NAMESPACE.svc:PORT means a Service's endpoints"
    )
    metrics_relist_interval: float = option(30.0, "seconds between two looks at which series Prometheus has")
    adapter_config: str = option(
        "kube-system/metrics-adapter",
        "NAMESPACE/NAME of the ConfigMap whose config.yaml has prometheus-adapter's rules",
    )

    def validate(self) -> None:
        """Raises ValueError naming the flag."""
        for name in ("metric_resolution", "metrics_relist_interval", "kubelet_request_timeout"):
            if getattr(self, name) <= 0:
                raise ValueError(f"--{name.replace('_', '-')} must be positive")
        if self.adapter_config.count("/") != 1:
            raise ValueError("--adapter-config must be NAMESPACE/NAME")
        if self.prometheus_url and not self.prometheus_url.startswith("http://"):
            raise ValueError("--prometheus-url must begin with http://; https is not supported")
