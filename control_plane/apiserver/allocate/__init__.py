"""Addresses and ports of Services, allocated in the transaction that writes the Service."""
