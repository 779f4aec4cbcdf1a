"""The HTTP client on real connections: bodies in every framing, and servers that misbehave."""

import asyncio

import pytest

from argosy.http import HttpError, MemoryHttp, Request, Response, StreamHttp

ENDS = b"HTTP/1.1 200 OK\r\n"


async def ask(answer: bytes, request: Request | None = None, **options: int) -> tuple[Response, bytes]:
    """(the response, the request as the server saw it)"""
    heard = bytearray()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.extend(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    request = request or Request("GET", f"http://127.0.0.1:{port}/a?b=c", {"X-One": "1"})
    try:
        return await StreamHttp().send(request, timeout_s=2.0, **options), bytes(heard)
    finally:
        server.close()


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (ENDS + b"Content-Length: 2\r\n\r\nokay", b"ok"),
        (ENDS + b"\r\nuntil the end", b"until the end"),
        (ENDS + b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n3;x=y\r\ncde\r\n0\r\n\r\n", b"abcde"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + ENDS + b"Content-Length: 1\r\n\r\nx", b"x"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.0 200\r\n\r\nold", b"old"),
    ],
)
def test_bodies_in_every_framing(answer: bytes, body: bytes) -> None:
    response, heard = asyncio.run(ask(answer))
    assert response.body == body
    assert heard.startswith(b"GET /a?b=c HTTP/1.1\r\n") and b"\r\nx-one: 1\r\n" in heard
    assert b"\r\nconnection: close\r\n" in heard


def test_a_long_body_is_cut() -> None:
    for head in (b"Content-Length: 1000\r\n\r\n", b"\r\n", b"Transfer-Encoding: chunked\r\n\r\n3e8\r\n"):
        response, _ = asyncio.run(ask(ENDS + head + b"x" * 1000, max_body_bytes=10))
        assert response.body == b"x" * 10


@pytest.mark.parametrize(
    "answer",
    [
        b"", b"SSH-2.0-nothing\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n", ENDS + b"Content-Length: 9\r\n\r\nshort",
        ENDS + b"Content-Length: x\r\n\r\n", ENDS + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        ENDS + b"a: " + b"x" * 100_000,
    ],
)  # fmt: skip
def test_what_is_no_answer_is_an_error(answer: bytes) -> None:
    with pytest.raises(HttpError):
        asyncio.run(ask(answer))


def test_bad_requests_are_refused() -> None:
    for url in ("ftp://127.0.0.1/", "http:///x", "http://127.0.0.1:99999/"):
        with pytest.raises(HttpError):
            asyncio.run(StreamHttp().send(Request("GET", url), timeout_s=1.0))
    with pytest.raises(HttpError, match="line break"):
        asyncio.run(ask(ENDS + b"\r\n", Request("GET", "http://127.0.0.1:1/", {"a": "b\r\nc: d"}), max_body_bytes=1))


def test_a_plain_server_is_no_tls_server() -> None:
    async def main() -> None:
        server = await asyncio.start_server(lambda _r, w: w.close(), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(HttpError):
            await StreamHttp().send(Request("GET", f"https://127.0.0.1:{port}/"), timeout_s=2.0)
        server.close()

    asyncio.run(main())


def test_the_twin_answers_and_refuses_alike() -> None:
    async def main() -> None:
        http = MemoryHttp()

        async def handler(request: Request) -> Response:
            if request.url.endswith("/slow"):
                await asyncio.sleep(60)
            return Response(200, {}, b"long body")

        http.serve("a:80", handler)
        assert (await http.send(Request("GET", "http://a/"), timeout_s=1.0, max_body_bytes=4)).body == b"long"
        with pytest.raises(HttpError, match="no answer within"):
            await http.send(Request("GET", "http://a/slow"), timeout_s=0.05)
        http.stop("a:80")
        with pytest.raises(HttpError, match="connection refused"):
            await http.send(Request("GET", "http://a/"), timeout_s=1.0)

    asyncio.run(main())
