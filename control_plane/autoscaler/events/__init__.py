"""The event-driven scaler: replicas by the length of a queue or by a schedule, from and to zero (as KEDA does)."""
