"""Kubernetes protobuf request bodies to JSON objects."""

from __future__ import annotations

from argosy.objects.types import JsonObject

MAGIC = b"k8s\x00"


class ProtobufError(ValueError):
    """The bytes are not a Kubernetes protobuf message that is known here."""


def decode_envelope(body: bytes) -> JsonObject:
    """The object of an envelope. Raises ProtobufError."""
    if body[:4] != MAGIC:
        raise ProtobufError("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")
    raise ProtobufError("no protobuf message of this kind is known")
