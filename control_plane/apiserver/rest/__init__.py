"""The Kubernetes REST API over HTTPS: paths and headers to pipeline requests, answers to bodies."""
