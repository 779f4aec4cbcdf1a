"""What goes wrong with a protobuf body."""

from __future__ import annotations


class ProtobufError(ValueError):
    """The bytes are not a Kubernetes protobuf message that is known here; the message is for the client."""
