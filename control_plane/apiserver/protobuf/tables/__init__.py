"""Field tables of Kubernetes' protobuf messages, one module per API package; data only."""
