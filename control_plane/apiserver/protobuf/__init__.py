"""Kubernetes protobuf request bodies to JSON objects."""

from control_plane.apiserver.protobuf.decoder import MAGIC, decode_envelope
from control_plane.apiserver.protobuf.errors import ProtobufError

__all__ = ["MAGIC", "ProtobufError", "decode_envelope"]
