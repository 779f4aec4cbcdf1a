"""Encryption at rest: what Kubernetes' EncryptionConfiguration says of it."""
