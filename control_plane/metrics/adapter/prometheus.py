"""Asks Prometheus' HTTP API. An answer that is no vector of numbers is an error, never a number."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

import orjson

from argosy.http import HttpClient, HttpError, Request

MAX_ANSWER_BYTES: Final = 16 << 20


class PrometheusError(Exception):
    """No sensible answer; the message says what was wrong."""


@dataclass(frozen=True)
class Value:
    labels: dict[str, str]
    value: float
    at_s: float


class Prometheus:
    """`url` is where the server is, such as http://10.77.0.9:9090/prefix."""

    def __init__(self, http: HttpClient, url: str, timeout_s: float = 10.0) -> None:
        self._http = http
        self._url = url.rstrip("/")
        self._timeout_s = timeout_s

    async def series(self, selectors: Sequence[str], since_s: float, until_s: float) -> list[dict[str, str]]:
        """The label sets of the series that any selector takes. Raises PrometheusError."""
        query = urlencode([*(("match[]", item) for item in selectors), ("start", since_s), ("end", until_s)])
        found = await self._ask(f"/api/v1/series?{query}")
        if not isinstance(found, list):
            raise PrometheusError("the answer to a series request is no list")
        return [{str(key): str(value) for key, value in item.items()} for item in found if isinstance(item, dict)]

    async def query(self, promql: str, at_s: float) -> list[Value]:
        """An instant query. Raises PrometheusError, also for values that are not finite."""
        found = await self._ask(f"/api/v1/query?{urlencode({'query': promql, 'time': f'{at_s:.3f}'})}")
        if not isinstance(found, dict) or found.get("resultType") != "vector":
            raise PrometheusError(f"the query {promql} gives no vector")
        try:
            values = [
                Value({str(key): str(label) for key, label in item["metric"].items()}, float(text), float(at))
                for item in found["result"]
                for at, text in (item["value"],)
            ]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise PrometheusError(f"the answer to {promql} cannot be read: {error!r}") from None
        for each in values:
            if not math.isfinite(each.value):
                raise PrometheusError(f"the query {promql} gives {each.value}")
        return values

    async def _ask(self, path: str) -> object:
        try:
            answer = await self._http.send(
                Request("GET", self._url + path), timeout_s=self._timeout_s, max_body_bytes=MAX_ANSWER_BYTES
            )
        except HttpError as error:
            raise PrometheusError(str(error)) from None
        try:
            body = orjson.loads(answer.body)
            status, data = body.get("status"), body.get("data")
        except (ValueError, AttributeError):
            raise PrometheusError(f"status {answer.status}, and the answer is no JSON object") from None
        if status != "success":
            raise PrometheusError(f"status {answer.status}: {body.get('error') or 'no reason given'}")
        return data
