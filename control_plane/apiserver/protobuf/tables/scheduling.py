"""Protobuf messages of scheduling/v1, in the notation of `protobuf.messages`. Numbers never change."""

MESSAGES = """\
PriorityClass
  1 metadata meta.ObjectMeta; 2 value int32; 3 globalDefault bool; 4 description string;
  5 preemptionPolicy *string
"""
