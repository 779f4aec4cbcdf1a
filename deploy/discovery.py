"""How a machine that joins finds out whom it speaks to: the cluster's authority, known by the hash of its public key.

The API server's chain is read from the open part of a TLS 1.2 handshake, which is then given up; nothing is sent but
the hello. With the authority out of it, the real connections check everything as usual (RFC 5246, 7.4.2).
"""

from __future__ import annotations

import socket
import ssl
from typing import BinaryIO, Final

from deploy.tokens import pin_of

TIMEOUT_S: Final = 5.0
MAX_HANDSHAKE_BYTES: Final = 64 << 10
_HANDSHAKE, _ALERT = 22, 21
"""Types of records."""
_CERTIFICATE: Final = 11
"""The type of the handshake message that carries the chain."""


class DiscoveryError(Exception):
    """The server cannot be reached, speaks no TLS, or is not of the pinned cluster; the message says which."""


def authority(host: str, port: int, pin: str) -> bytes:
    """The certificate (PEM) in the server's chain whose public key hashes to `pin`. Raises DiscoveryError."""
    for der in served_chain(host, port):
        pem = ssl.DER_cert_to_PEM_cert(der).encode()
        try:
            if pin_of(pem) == pin:
                return pem
        except ValueError:
            continue
    raise DiscoveryError(f"{host}:{port} is not of the cluster that made the token: its authority has another key")


def trusting(authority_pem: bytes) -> ssl.SSLContext:
    """TLS that trusts this authority alone, and checks names."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=authority_pem.decode("ascii"))
    return context


def served_chain(host: str, port: int, timeout_s: float = TIMEOUT_S) -> list[bytes]:
    """The certificates that a TLS server shows, DER, its own first. Nothing of them is verified.

    Raises DiscoveryError.
    """
    try:
        with socket.create_connection((host, port), timeout=timeout_s) as sock:
            sock.settimeout(timeout_s)
            sock.sendall(_hello(host))
            with sock.makefile("rb") as stream:
                return _certificates(stream)
    except TimeoutError:
        raise DiscoveryError(f"{host}:{port} does not answer within {timeout_s:g} s") from None
    except OSError as error:
        raise DiscoveryError(f"{host}:{port} cannot be reached: {error.strerror or error}") from None
    except _NoTlsError as error:
        raise DiscoveryError(f"{host}:{port} is no API server: {error}") from None


class _NoTlsError(Exception):
    """What came is not a TLS 1.2 server's beginning."""


def _hello(host: str) -> bytes:
    """A client's first message, of a version in which the server's certificates are not encrypted."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    outgoing = ssl.MemoryBIO()
    try:
        context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=host).do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read()


def _certificates(stream: BinaryIO) -> list[bytes]:
    """Read records until the certificate message is whole."""
    data = b""
    while len(data) < MAX_HANDSHAKE_BYTES:
        head = _exactly(stream, 5)
        if head[0] == _ALERT:
            raise _NoTlsError("it ended the handshake")
        if head[0] != _HANDSHAKE:
            raise _NoTlsError("it does not speak TLS")
        data += _exactly(stream, int.from_bytes(head[3:5], "big"))
        while len(data) >= 4 and len(data) >= 4 + (size := int.from_bytes(data[1:4], "big")):
            kind, message, data = data[0], data[4 : 4 + size], data[4 + size :]
            if kind == _CERTIFICATE:
                return _list(message)
    raise _NoTlsError("its handshake is too long")


def _list(message: bytes) -> list[bytes]:
    """A list of certificates, each after its length in three bytes, after the length of the whole."""
    found, position = [], 3
    while position + 3 <= len(message):
        size = int.from_bytes(message[position : position + 3], "big")
        found.append(message[position + 3 : position + 3 + size])
        position += 3 + size
    return found


def _exactly(stream: BinaryIO, size: int) -> bytes:
    data = stream.read(size)
    if len(data) != size:
        raise _NoTlsError("it closed the connection")
    return data
