"""The vertical pod autoscaler (upstream: kubernetes/autoscaler, vertical-pod-autoscaler)."""
