"""Asking a webhook over real TLS: whom it trusts, how it dials, and servers that are away, slow, lie or overflow."""

from __future__ import annotations

import asyncio
import base64

import pytest

from argosy.host import RealClock, SeededRng
from control_plane.apiserver.service_endpoints import ServiceEndpoints
from control_plane.apiserver.webhook_client import WebhookClient, WebhookError

from .https_server import NAME, LoopbackHttp, https_server, serve_as

POST = f'Post "https://{NAME}:443/check?timeout=2s": '


def client_of(api):
    http = LoopbackHttp()
    return WebhookClient(http, ServiceEndpoints(api.server.parts.resources, SeededRng(1)), RealClock()), http


def by_service(server, **service):
    return {
        "service": {"namespace": "default", "name": "hook", "path": "/check", "port": 443, **service},
        "caBundle": server.bundle,
    }


async def failure(client, config, timeout_s=2.0, **options):
    with pytest.raises(WebhookError) as caught:
        await client.post(config, {"a": 1}, timeout_s=timeout_s, **options)
    return str(caught.value)


def test_a_service_is_dialled_at_its_endpoints_and_the_connection_is_kept(with_api, tmp_path):
    async def body(api):
        async with https_server(tmp_path, lambda heard: {"heard": heard.json}) as server:
            await serve_as(api, server)
            client, http = client_of(api)
            for number in range(3):
                answer = await client.post(by_service(server), {"n": number}, timeout_s=10)
                assert answer == {"heard": {"n": number}}
            first = server.heard[0]
            assert (first.method, first.path) == ("POST", "/check?timeout=10s")
            assert first.headers["host"] == f"{NAME}:443"
            assert first.headers["content-type"] == "application/json"
            assert (server.connections, http.idle) == (1, 1)
            await http.close()
            assert http.idle == 0

    with_api(body)


def test_many_at_once_each_get_their_own_answer(with_api, tmp_path):
    async def body(api):
        async def slowly(heard):
            await asyncio.sleep(0.02)
            return heard.json

        async with https_server(tmp_path, slowly) as server:
            await serve_as(api, server)
            client, http = client_of(api)
            for _ in range(2):
                asked = [client.post(by_service(server), {"n": number}, timeout_s=10) for number in range(30)]
                assert await asyncio.gather(*asked) == [{"n": number} for number in range(30)]
            assert http.idle == 16
            await http.close()

    with_api(body)


def test_a_url_is_asked_as_it_is(with_api, tmp_path):
    async def body(api):
        async with https_server(tmp_path, lambda heard: {"path": heard.path}, names=["127.0.0.1"]) as server:
            client, http = client_of(api)
            config = {"url": f"https://127.0.0.1:{server.port}/x", "caBundle": server.bundle}
            assert await client.post(config, {}, timeout_s=3) == {"path": "/x?timeout=3s"}
            leaf = base64.b64encode((tmp_path / "hook.crt").read_bytes()).decode()
            assert await client.post({**config, "caBundle": leaf}, {}, timeout_s=3) == {"path": "/x?timeout=3s"}
            await http.close()

    with_api(body)


def test_who_cannot_prove_to_be_the_service_is_not_asked(with_api, tmp_path):
    async def body(api):
        async with https_server(tmp_path, names=["other.default.svc"]) as server:
            await serve_as(api, server)
            client, _ = client_of(api)
            text = await failure(client, by_service(server))
            assert text.startswith(POST + "tls: failed to verify certificate: x509: ") and "mismatch" in text
            async with https_server(tmp_path) as stranger:
                foreign = {**by_service(server), "caBundle": stranger.bundle}
                assert "tls: failed to verify certificate: x509: " in await failure(client, foreign)
            without = {"service": by_service(server)["service"]}
            assert "tls: failed to verify certificate: x509: " in await failure(client, without)
            for bundle in ("!", base64.b64encode(b"no certificate").decode()):
                assert "unable to parse bytes as PEM block" in await failure(client, {**without, "caBundle": bundle})
            assert server.heard == []

    with_api(body)


def test_services_that_lead_nowhere_are_named(with_api, tmp_path):
    async def body(api):
        async with https_server(tmp_path) as server:
            await serve_as(api, server, "empty", addresses=())
            client, _ = client_of(api)
            assert await failure(client, by_service(server)) == POST + 'services "hook" not found'
            text = await failure(client, by_service(server, name="empty"))
            assert text.endswith('no endpoints available for service "empty"')
            text = await failure(client, by_service(server, name="empty", port=8443))
            assert text.endswith('no service port 8443 found for service "empty"')

    with_api(body)


def test_an_endpoint_that_refuses_is_passed_over(with_api, tmp_path):
    async def body(api):
        async with https_server(tmp_path, lambda heard: {"n": heard.json["n"]}) as server:
            await serve_as(api, server, addresses=("192.0.2.2", "192.0.2.1"))
            client, http = client_of(api)
            for number in range(8):
                assert await client.post(by_service(server), {"n": number}, timeout_s=5) == {"n": number}
            assert len(server.heard) == 8
            await http.close()
        assert "dial tcp 127.0.0." in await failure(client, by_service(server))

    with_api(body)


def test_a_kept_connection_that_the_server_closed_costs_nothing(with_api, tmp_path):
    async def body(api):
        ok = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
        async with https_server(tmp_path, lambda heard: ok) as server:
            await serve_as(api, server)
            client, http = client_of(api)
            for _ in range(5):
                assert await client.post(by_service(server), {}, timeout_s=5) == {}
            assert len(server.heard) == server.connections == 5
            server.answer = lambda heard: ok + b'HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n{"a": 1}'
            for _ in range(5):
                assert await client.post(by_service(server), {}, timeout_s=5) == {}
            await http.close()

    with_api(body)


HEAD = b"HTTP/1.1 200 OK\r\n"
GARBAGE = {
    b"": "EOF",
    b"SSH-2.0-x\r\n\r\n": "the answer is not HTTP",
    HEAD + b"Content-Length: 9\r\n\r\n{": "the answer breaks off",
    HEAD + b"Content-Length: -5\r\n\r\n": "the answer breaks off",
    HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n": "the answer breaks off",
    HEAD + b"X: " + b"y" * 100_000: "the answer is not HTTP",
    HEAD + b"Content-Length: 3\r\n\r\n[1]": "json parse error",
    HEAD + b"Content-Length: 3\r\n\r\nabc": "json parse error",
    HEAD + b"\r\n" + b"[" * 100_000: "json parse error",
    b"HTTP/1.1 404 X\r\n\r\n404 page not found": "the server could not find the requested resource",
    b"HTTP/1.1 500 X\r\n\r\nboom": 'an error on the server ("boom") has prevented the request from succeeding',
    b'HTTP/1.1 418 X\r\n\r\n{"kind": "Status", "message": "I am a teapot"}': "I am a teapot",
    b"HTTP/1.1 302 X\r\nLocation: https://127.0.0.1/\r\n\r\n": "status code 302",
    HEAD + b"\r\n" + b"x" * 300_000: "the answer is larger than 200000 bytes",
    HEAD + b"Content-Length: 99999999999\r\n\r\n" + b"x" * 300_000: "the answer is larger than 200000 bytes",
}


@pytest.mark.parametrize("answer", GARBAGE, ids=range(len(GARBAGE)))
def test_garbage_is_an_error_that_says_so(with_api, tmp_path, answer):
    async def body(api):
        async with https_server(tmp_path, lambda heard: answer) as server:
            await serve_as(api, server)
            client, http = client_of(api)
            assert GARBAGE[answer] in await failure(client, by_service(server), 5.0, max_answer_bytes=200_000)
            assert http.idle == 0

    with_api(body)


def test_a_slow_server_costs_no_more_than_the_time_out(with_api, tmp_path):
    async def body(api):
        async def never(heard):
            await asyncio.sleep(60)

        async with https_server(tmp_path, never) as server:
            await serve_as(api, server)
            client, _ = client_of(api)
            started = RealClock().monotonic()
            text = await failure(client, by_service(server), 0.2)
            assert text == f'Post "https://{NAME}:443/check?timeout=0.2s": context deadline exceeded'
            assert RealClock().monotonic() - started < 5

    with_api(body)
