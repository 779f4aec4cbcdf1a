"""Protobuf messages of node/v1, in the notation of `protobuf.messages`. Numbers never change."""

MESSAGES = """\
Overhead
  1 podFixed map[string]Quantity
RuntimeClass
  1 metadata meta.ObjectMeta; 2 handler string; 3 overhead *Overhead; 4 scheduling *Scheduling
Scheduling
  1 nodeSelector map[string]string; 2 tolerations []core.Toleration
"""
