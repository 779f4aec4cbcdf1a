"""Where a webhook may be: the rules of `clientConfig`."""

import base64

import pytest

from argosy.kinds import client_config

PEM = base64.b64encode(b"-----BEGIN CERTIFICATE-----\nMII=\n-----END CERTIFICATE-----\n").decode()
SERVICE = {"namespace": "a", "name": "b"}


def complaints(config):
    return [str(item) for item in client_config.validate(config, "cc")]


def test_the_port_is_443_unless_said_otherwise():
    config = {"service": dict(SERVICE)}
    client_config.default(config)
    assert config["service"]["port"] == 443
    config = {"service": {**SERVICE, "port": 8443}}
    client_config.default(config)
    assert config["service"]["port"] == 8443


@pytest.mark.parametrize(
    "config",
    [
        {"url": "https://example.org"},
        {"url": "https://[::1]:8443/path", "caBundle": PEM},
        {"service": SERVICE},
        {"service": {**SERVICE, "port": 1, "path": "/a/b-c.d/"}, "caBundle": PEM},
        {"service": {**SERVICE, "path": "/"}},
    ],
)
def test_good_ones(config):
    assert complaints(config) == []


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({}, "cc: Required value: exactly one of url or service is required"),
        ({"url": "https://a", "service": SERVICE}, "exactly one of url or service is required"),
        ({"url": "http://a"}, 'cc.url: Invalid value: "http": \'https\' is the only allowed URL scheme'),
        ({"url": "https:///p"}, "cc.url: Invalid value: \"\": host must be provided"),
        ({"url": "https://u:p@a/"}, 'cc.url: Invalid value: "u:p": user information is not permitted in the URL'),
        ({"url": "https://a/#f"}, 'cc.url: Invalid value: "f": fragments are not permitted in the URL'),
        ({"url": "https://a/?q"}, 'cc.url: Invalid value: "q": query parameters are not permitted in the URL'),
        ({"url": "https://a:99999/"}, "cc.url: Required value: url must be a valid URL: "),
        ({"url": "https://[::1/"}, "cc.url: Required value: url must be a valid URL: "),
        ({"url": "https://a/b c"}, "control characters and spaces are not permitted"),
        ({"service": {"name": "b"}}, "cc.service.namespace: Required value: service namespace is required"),
        ({"service": {"namespace": "b"}}, "cc.service.name: Required value: service name is required"),
        ({"service": {**SERVICE, "port": 0}}, "cc.service.port: Invalid value: 0: port is not valid: "),
        ({"service": {**SERVICE, "path": "x"}}, "cc.service.path: Invalid value: \"x\": must start with a '/'"),
        ({"service": {**SERVICE, "path": "//"}}, "segment[0] may not be empty"),
        ({"service": {**SERVICE, "path": "/a//b"}}, "segment[1] may not be empty"),
        ({"service": {**SERVICE, "path": "/A"}}, "segment[0]: a lowercase RFC 1123 subdomain"),
        ({"url": "https://a", "caBundle": "?"}, "cc.caBundle: Invalid value: "),
        ({"url": "https://a", "caBundle": "eA=="}, "unable to parse bytes as PEM block"),
    ],
)  # fmt: skip
def test_bad_ones_are_named(config, said):
    assert any(said in text for text in complaints(config)), complaints(config)
