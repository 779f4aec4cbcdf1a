"""Probe by an HTTP GET: 200 to 399 is success; redirects are followed on the same host only."""

from __future__ import annotations

from urllib.parse import urljoin, urlsplit

from argosy.http import HttpClient, HttpError, Request
from argosy.objects.types import JsonObject
from node_agent.hooks import headers_of, port_number, url_of
from node_agent.probes.probe import Outcome, Result, Subject

USER_AGENT = "kube-probe/1.36"
MAX_BODY_BYTES = 10 << 10
MAX_REDIRECTS = 10


async def probe_http(http: HttpClient, action: JsonObject, subject: Subject, timeout_s: float) -> Result:
    try:
        port = port_number(subject.container, action.get("port"))
    except ValueError as error:
        return Result(Outcome.UNKNOWN, str(error))
    url = url_of(action, port, subject.pod_ips[0] if subject.pod_ips else "")
    headers = headers_of(action, USER_AGENT)
    first_host = urlsplit(url).hostname
    for _ in range(MAX_REDIRECTS):
        try:
            response = await http.send(
                Request("GET", url, headers), timeout_s=timeout_s, max_body_bytes=MAX_BODY_BYTES
            )
        except HttpError as error:
            return Result(Outcome.FAILURE, f'Get "{url}": {_as_go(str(error), url)}')
        location = response.headers.get("location")
        if response.status in (301, 302, 303, 307, 308) and location:
            target = urljoin(url, location)
            if urlsplit(target).hostname != first_host:
                return Result(Outcome.WARNING, f"Probe terminated redirects, Response body: {_text(response.body)}")
            url = target
            continue
        if 200 <= response.status < 400:
            return Result(Outcome.SUCCESS, _text(response.body))
        return Result(Outcome.FAILURE, f"HTTP probe failed with statuscode: {response.status}")
    return Result(Outcome.FAILURE, f'Get "{url}": stopped after {MAX_REDIRECTS} redirects')


def _as_go(message: str, url: str) -> str:
    """A failed connection in the words that people search for."""
    text = message.removeprefix(f"{url}: ")
    if text in ("connection refused", "no route to host", "network is unreachable"):
        parts = urlsplit(url)
        return f"dial tcp {parts.netloc}: connect: {text}"
    return text


def _text(body: bytes) -> str:
    return body.decode("utf-8", "replace")
