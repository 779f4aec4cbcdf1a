"""The DNS server on a real socket: UDP, TCP, changes, forwarding, bad input."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

from dnslib import EDNS0, QTYPE, DNSRecord

from argosy.host import real_host
from control_plane.dns.server import Config, Dns

NAMESPACE = {"metadata": {"name": "default"}}


def service(ip: str, name: str = "web", **more: Any) -> dict[str, Any]:
    return {"metadata": {"namespace": "default", "name": name}, "spec": {"clusterIP": ip, "ports": [], **more}}


async def udp(address: tuple[str, int], data: bytes) -> bytes:
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        await loop.sock_connect(sock, address)
        await loop.sock_sendall(sock, data)
        async with asyncio.timeout(5):
            return await loop.sock_recv(sock, 65_535)


async def tcp(address: tuple[str, int], *queries: bytes) -> list[bytes]:
    reader, writer = await asyncio.open_connection(*address)
    try:
        for data in queries:
            writer.write(len(data).to_bytes(2, "big") + data)
        answers = []
        async with asyncio.timeout(5):
            for _ in queries:
                size = int.from_bytes(await reader.readexactly(2), "big")
                answers.append(await reader.readexactly(size))
        return answers
    finally:
        writer.close()


def query(name: str, kind: str = "A") -> bytes:
    return bytes(DNSRecord.question(name, kind).pack())


def values(data: bytes) -> list[str]:
    return [str(record.rdata) for record in DNSRecord.parse(data).rr]


def serve(api: Any, test: Callable[[Dns], Awaitable[None]], **flags: Any) -> None:
    async def body() -> None:
        dns = Dns(Config(listen="127.0.0.1:0", **flags), real_host(), api)
        task = asyncio.ensure_future(dns.run())
        try:
            async with asyncio.timeout(10):
                await dns.listening.wait()
            await test(dns)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(body())


async def until(check: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(5):
        while not await check():
            await asyncio.sleep(0.01)


def test_answers_over_udp_and_tcp_and_follows_changes(api: Any) -> None:
    api.resource("", "v1", "services").put(service("10.96.0.80"))
    api.resource("", "v1", "namespaces").put(NAMESPACE)

    async def test(dns: Dns) -> None:
        name = "web.default.svc.cluster.local"
        answer = DNSRecord.parse(await udp(dns.address, query(name)))
        assert [str(record.rdata) for record in answer.rr] == ["10.96.0.80"]
        assert answer.header.aa == 1 and answer.rr[0].ttl == 5
        first, second = await tcp(dns.address, query(name), query("10-1-2-3.default.pod.cluster.local"))
        assert values(first) == ["10.96.0.80"] and values(second) == ["10.1.2.3"]
        missing = DNSRecord.parse(await udp(dns.address, query("no.default.svc.cluster.local")))
        assert missing.header.rcode == 3
        assert str(missing.auth[0].rname) == "cluster.local." and missing.auth[0].rtype == 6
        nodata = DNSRecord.parse(await udp(dns.address, query(name, "AAAA")))
        assert nodata.header.rcode == 0 and not nodata.rr and nodata.auth

        api.resource("", "v1", "services").put(service("10.96.0.81"))

        async def moved() -> bool:
            return values(await udp(dns.address, query(name))) == ["10.96.0.81"]

        await until(moved)
        api.resource("", "v1", "services").delete("default/web")

        async def gone() -> bool:
            return int(DNSRecord.parse(await udp(dns.address, query(name))).header.rcode) == 3

        await until(gone)

    serve(api, test)


def test_headless_endpoints_come_and_go(api: Any) -> None:
    services = api.resource("", "v1", "services")
    slices = api.resource("discovery.k8s.io", "v1", "endpointslices")
    services.put(service("None"))

    def piece(*ips: str) -> dict[str, Any]:
        return {
            "metadata": {
                "namespace": "default",
                "name": "web-1",
                "labels": {"kubernetes.io/service-name": "web"},
            },
            "addressType": "IPv4",
            "ports": [],
            "endpoints": [{"addresses": [ip]} for ip in ips],
        }

    async def test(dns: Dns) -> None:
        for ips in (["10.0.0.1"], ["10.0.0.1", "10.0.0.2"], []):
            slices.put(piece(*ips))

            async def there(ips: list[str] = ips) -> bool:
                return sorted(values(await udp(dns.address, query("web.default.svc.cluster.local")))) == ips

            await until(there)

    serve(api, test)


def test_long_answers_are_cut_over_udp_and_whole_over_tcp(api: Any) -> None:
    ips = [f"10.0.{number // 200}.{number % 200}" for number in range(300)]
    api.resource("", "v1", "services").put(service("None"))
    api.resource("discovery.k8s.io", "v1", "endpointslices").put(
        {
            "metadata": {"namespace": "default", "name": "w", "labels": {"kubernetes.io/service-name": "web"}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [ip]} for ip in ips],
        }
    )

    async def test(dns: Dns) -> None:
        short = await udp(dns.address, query("web.default.svc.cluster.local"))
        cut = DNSRecord.parse(short)
        assert len(short) <= 512 and cut.header.tc == 1
        assert str(cut.q.qname) == "web.default.svc.cluster.local.", "an answer without its question is taken by none"
        assert len(cut.rr) > 20 and {str(record.rdata) for record in cut.rr} <= set(ips), (
            "as many as there is room for"
        )
        wide = DNSRecord.question("web.default.svc.cluster.local")
        wide.add_ar(EDNS0(udp_len=4096))
        longer = await udp(dns.address, bytes(wide.pack()))
        assert 512 < len(longer) <= 1232 and len(DNSRecord.parse(longer).rr) > len(cut.rr)
        assert [record.rtype for record in DNSRecord.parse(longer).ar] == [QTYPE.OPT]
        (whole,) = await tcp(dns.address, query("web.default.svc.cluster.local"))
        assert sorted(values(whole)) == sorted(ips)

    serve(api, test)


def test_the_zone_tells_of_itself_and_edns_is_answered_in_kind(api: Any) -> None:
    async def test(dns: Dns) -> None:
        told = DNSRecord.parse(await udp(dns.address, query("cluster.local", "SOA")))
        assert [str(record.rname) for record in told.rr] == ["cluster.local."] and told.rr[0].rtype == QTYPE.SOA
        assert not told.ar
        for name in ("nope.default.svc.cluster.local", "example.org"):
            asked = DNSRecord.question(name)
            asked.add_ar(EDNS0(udp_len=1232))
            answer = DNSRecord.parse(await udp(dns.address, bytes(asked.pack())))
            assert [record.rtype for record in answer.ar] == [QTYPE.OPT]

    serve(api, test)


def test_other_names_are_refused_or_forwarded(api: Any) -> None:
    async def refused(dns: Dns) -> None:
        assert DNSRecord.parse(await udp(dns.address, query("example.org"))).header.rcode == 5

    serve(api, refused)

    async def body() -> None:
        loop = asyncio.get_running_loop()

        class Resolver(asyncio.DatagramProtocol):
            def connection_made(self, transport: Any) -> None:
                self.transport = transport

            def datagram_received(self, data: bytes, addr: Any) -> None:
                reply = DNSRecord.parse(data).replyZone("example.org 60 A 192.0.2.1")
                self.transport.sendto(reply.pack(), addr)

        transport, _ = await loop.create_datagram_endpoint(Resolver, local_addr=("127.0.0.1", 0))
        port = transport.get_extra_info("sockname")[1]
        config = Config(listen="127.0.0.1:0", upstream=(f"127.0.0.1:{port}",))
        dns = Dns(config, real_host(), api)
        task = asyncio.ensure_future(dns.run())
        await dns.listening.wait()
        assert values(await udp(dns.address, query("example.org"))) == ["192.0.2.1"]
        task.cancel()
        transport.close()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(body())


def test_bad_input_is_answered_or_dropped_and_the_server_lives(api: Any) -> None:
    api.resource("", "v1", "services").put(service("10.96.0.80"))
    api.resource("", "v1", "services").put(
        {"metadata": {"namespace": "default", "name": "odd"}, "spec": {"ports": 7}}
    )

    async def test(dns: Dns) -> None:
        question = query("web.default.svc.cluster.local")
        broken = question[:12] + b"\xc0\x0c" + b"\x00\x01\x00\x01"
        answer = await udp(dns.address, broken)
        assert answer[:2] == broken[:2] and answer[3] & 15 == 1, "a name that points to itself is FORMERR"
        update = question[:2] + b"\x28\x00" + question[4:]
        assert (await udp(dns.address, update))[3] & 15 == 4, "opcodes but QUERY are NOTIMP"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for junk in (b"", b"x", b"\xff" * 40, question[:2] + b"\x80" + question[3:]):
                sock.sendto(junk, dns.address)
        reader, writer = await asyncio.open_connection(*dns.address)
        writer.write(b"\x00\x03abc")
        assert await reader.read() == b""
        writer.close()
        assert values(await udp(dns.address, question)) == ["10.96.0.80"]

    serve(api, test)
