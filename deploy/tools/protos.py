"""Generate argosy/pb from proto/ (`make proto`). The output is committed; a test checks that it is current.

Each .proto becomes `<name>_pb2.py` and `.pyi`. All of them live in a descriptor pool of their own
(`argosy.pb.POOL`), so that another library's etcd or CRI messages in the same process cannot clash with ours.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCES = (
    "argosy/v1/api.proto",
    "argosy/v1/node_groups.proto",
    "etcd/etcd.proto",
    "cri/cri.proto",
    "cri/containerd_events.proto",
    "cri/health.proto",
    "kms/kms.proto",
)
"""Base names differ: one pool holds them all."""


def generate(out: Path) -> None:
    """Write the modules of every source into `out`. Raises SystemExit when protoc fails."""
    from grpc_tools import protoc

    out.mkdir(parents=True, exist_ok=True)
    for source in SOURCES:
        path = ROOT / "proto" / source
        arguments = ["protoc", f"-I{path.parent}", f"--python_out={out}", f"--pyi_out={out}", str(path)]
        code = protoc.main(arguments)
        if code:
            raise SystemExit(f"protoc failed on {source} with exit code {code}")
        module = out / f"{path.stem}_pb2.py"
        text = module.read_text(encoding="utf-8")
        text = text.replace("_descriptor_pool.Default()", "_POOL")
        text = re.sub(
            r"^from google\.protobuf import descriptor_pool as _descriptor_pool$",
            "from argosy.pb import POOL as _POOL",
            text,
            flags=re.M,
        )
        module.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "argosy" / "pb")
