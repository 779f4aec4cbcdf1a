"""The flags of `python -m etcd`."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from argosy.config import option


@dataclass(frozen=True)
class Config:
    """One member of a store."""

    name: str = option(help="this member's name, and the name in its certificate")
    data_dir: str = option(help="directory of the log and the snapshot")
    listen_client: str = option(help="host:port for clients (etcd v3 gRPC)")
    listen_peer: str = option("", help="host:port for the other members; needed with more than one")
    initial_cluster: tuple[str, ...] = option((), help="all members: name=host:port of their peer ports")
    cluster_token: str = option("argosy", help="clusters with different tokens never mix")
    advertise_client: str = option("", help="where clients reach this member (default: --listen-client)")
    ca: str = option("", help="PEM file of the authority that clients and peers are checked against")
    certificate: str = option("", help="PEM file of this member's certificate, for serving and dialling")
    key: str = option("", help="PEM file of its key")
    quota_bytes: int = option(2 << 30, help="size of all versions held above which writes are refused (NOSPACE)")
    snapshot_bytes: int = option(16 << 20, help="log bytes after which a snapshot is taken, or the state's size")
    retain_bytes: int = option(4 << 20, help="log bytes kept before a snapshot for members that are a little behind")
    segment_bytes: int = option(8 << 20, help="size of a log segment")
    heartbeat_interval_s: float = option(
        0.1, help="period of the leader's heartbeats; 6 to 13 missed ones begin an election; the same on all members"
    )
    progress_notify_s: float = option(600.0, help="period of progress notifications to watches that ask for them")
    record_disk: str = option(
        "", help="for crash tests: directory in which to keep a copy of just what was synced to disk"
    )
    log_level: str = option("info", help="debug, info, warning or error")
    log_file: str = option("", help="log file; stderr without")

    def addresses(self) -> dict[str, str]:
        """Peer address by member name. Raises ValueError on malformed or contradictory flags."""
        if not self.initial_cluster:
            return {self.name: self.listen_peer}
        result: dict[str, str] = {}
        for item in self.initial_cluster:
            name, equals, address = item.partition("=")
            if not name or not equals or ":" not in address or name in result:
                raise ValueError(f"--initial-cluster: {item!r} is not name=host:port, or twice there")
            result[name] = address
        if self.name not in result:
            raise ValueError(f"--initial-cluster does not name this member, {self.name!r}")
        if len(result) > 1 and not self.listen_peer:
            raise ValueError("--listen-peer is needed with more than one member")
        if not 0.01 <= self.heartbeat_interval_s <= 1.0:
            raise ValueError("--heartbeat-interval-s must lie between 0.01 and 1")
        return result

    def cluster_id(self) -> int:
        """Of the token and the members' names: who disagrees about them is in another cluster."""
        return _id("cluster", self.cluster_token, *sorted(self.addresses()))

    def member_id(self, name: str) -> int:
        return _id("member", self.cluster_token, name)

    def owner_id(self) -> int:
        """Stands in every log segment: the log of one member of one cluster is nobody else's."""
        return _id("owner", self.name, self.cluster_token, *sorted(self.addresses()))


def _id(*parts: str) -> int:
    digest = hashlib.sha256("\0".join(parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") or 1
