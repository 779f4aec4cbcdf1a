"""Subresources that are more than a part of their object: scale, binding, eviction, token, approval, and others."""
