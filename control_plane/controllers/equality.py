"""Kubernetes' semantic equality of JSON: absent, null and empty are the same (apimachinery `equality.Semantic`)."""

from __future__ import annotations


def bare(value: object) -> object:
    """`value` without what is null or empty; two values are semantically equal when their bare forms are."""
    if isinstance(value, dict):
        kept = {key: bare(item) for key, item in value.items()}
        return {key: item for key, item in kept.items() if item is not None} or None
    if isinstance(value, list):
        return [bare(item) for item in value] or None
    return None if value == "" else value


def same(a: object, b: object) -> bool:
    return a == b or bare(a) == bare(b)
