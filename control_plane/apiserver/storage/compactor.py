"""Drops history every five minutes, one API server at a time, as upstream's compactor does.

Each round compacts to the revision that was current one period ago, so that every revision lives for one to two
periods. The servers agree by a counter key: who moves it in a transaction compacts, the others wait.
"""

from __future__ import annotations

import asyncio

from argosy import logs
from argosy.objects.status import ApiError
from argosy.pb import etcd_pb2 as pb
from control_plane.apiserver.storage.etcd import EtcdClient

KEY = b"compact_rev_key"
PERIOD_S = 300.0
log = logs.get("apiserver.compactor")


async def run(client: EtcdClient, period_s: float = PERIOD_S) -> None:
    """Compact for ever; ends by cancellation."""
    version, revision = 0, 0
    while True:
        await asyncio.sleep(period_s)
        try:
            version, revision = await compact_once(client, version, revision)
        except ApiError as error:
            log.warning("compaction failed", error=error.message)


async def compact_once(client: EtcdClient, version: int, revision: int) -> tuple[int, int]:
    """One round: the counter's version and the revision for the next one."""
    request = pb.TxnRequest()
    compare = request.compare.add()
    compare.key, compare.target, compare.result = KEY, pb.Compare.VERSION, pb.Compare.EQUAL
    compare.version = version
    put = request.success.add().request_put
    put.key, put.value = KEY, str(revision).encode()
    request.failure.add().request_range.key = KEY
    outcome = await client.txn(request)
    current = outcome.response.header.revision
    if not outcome.response.succeeded:
        found = outcome.response.responses[0].response_range.kvs
        return (found[0].version if found else 0), current
    if revision:
        await client.compact(revision)
        log.info("compacted", revision=revision)
    return version + 1, current
