"""The metrics server: metrics.k8s.io from the nodes, custom and external metrics from Prometheus; aggregated APIs."""
