"""A question's bytes to an answer's bytes, by dnslib. No I/O; the only importer of dnslib.

Called by `server.py` for every datagram and TCP message. What is malformed gets FORMERR where its id can be read and
nothing otherwise; what is not ours is left to the caller (it forwards or refuses).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from dnslib import AAAA, CNAME, EDNS0, PTR, QTYPE, RCODE, RR, SOA, SRV, TXT, A, DNSError, DNSHeader, DNSRecord

from argosy.host import Rng
from control_plane.dns import names
from control_plane.dns.records import Record
from control_plane.dns.zone import Answer, Outcome, Zone

TTL_S: Final = 5
NEGATIVE_TTL_S: Final = 5
PLAIN_UDP_BYTES: Final = 512
MAX_UDP_BYTES: Final = 1232
"""Answers larger than a client says it takes (EDNS, RFC 6891) are cut and asked again over TCP."""


class Question:
    """One parsed query."""

    def __init__(self, message: DNSRecord) -> None:
        self.message = message
        self.name = str(message.q.qname)
        self.type = str(QTYPE.get(message.q.qtype))
        self.udp_bytes = PLAIN_UDP_BYTES
        self.edns = False
        """The client speaks EDNS, and is answered in it."""
        for extra in message.ar:
            if extra.rtype == QTYPE.OPT:
                self.edns = True
                self.udp_bytes = max(PLAIN_UDP_BYTES, min(MAX_UDP_BYTES, int(extra.rclass)))


def parse(data: bytes) -> Question | bytes:
    """The question, or the bytes to answer at once (empty: say nothing)."""
    try:
        message = DNSRecord.parse(data)
    except (DNSError, ValueError, IndexError, UnicodeError, LookupError):
        if len(data) < 12 or data[2] & 0x80:
            return b""
        return _header(data, RCODE.FORMERR)
    if message.header.qr:
        return b""
    if message.header.opcode != 0:
        return _header(data, RCODE.NOTIMP)
    if len(message.questions) != 1:
        return _header(data, RCODE.FORMERR)
    return Question(message)


def _header(data: bytes, code: int) -> bytes:
    number = int.from_bytes(data[:2], "big")
    header = DNSHeader(id=number, qr=1, rd=data[2] & 1, rcode=code)
    return bytes(DNSRecord(header).pack())


def answer(question: Question, zone: Zone, rng: Rng, *, recursion: bool, udp: bool) -> bytes | None:
    """The packed answer; None when the name is not ours and may be asked elsewhere."""
    found = zone.ask(question.name, question.type)
    if found.outcome is Outcome.ELSEWHERE:
        return None
    return render(question, found, zone, rng, recursion=recursion, udp=udp)


def render(question: Question, found: Answer, zone: Zone, rng: Rng, *, recursion: bool, udp: bool) -> bytes:
    reply = question.message.reply(ra=int(recursion), aa=1)
    if found.outcome is Outcome.NODATA and question.type == "SOA" and names.normal(question.name) == zone.domain:
        reply.add_answer(soa(zone))
    elif found.outcome is Outcome.ANSWER:
        for record in _rotated(found.records, rng):
            reply.add_answer(_rr(record, question))
        if found.text:
            reply.add_answer(RR(question.name, QTYPE.TXT, ttl=TTL_S, rdata=TXT(found.text)))
        for record in found.additional:
            reply.add_ar(_rr(record))
    else:
        if found.outcome is Outcome.NXDOMAIN:
            reply.header.rcode = RCODE.NXDOMAIN
        reply.add_auth(soa(zone))
    _extend(reply, question)
    return cut(reply, question) if udp else packed(reply)


def _extend(reply: DNSRecord, question: Question) -> None:
    """EDNS is answered by EDNS (RFC 6891, section 6.1.1)."""
    if question.edns:
        reply.add_ar(EDNS0(udp_len=MAX_UDP_BYTES))


def refuse(question: Question, code: str) -> bytes:
    """`code` as REFUSED or SERVFAIL."""
    reply = question.message.reply(ra=0, aa=0)
    reply.header.rcode = getattr(RCODE, code)
    _extend(reply, question)
    return packed(reply)


def packed(reply: DNSRecord) -> bytes:
    return bytes(reply.pack())


def cut(reply: DNSRecord, question: Question) -> bytes:
    """An answer that fits a datagram; one that does not fit as a whole is marked truncated.

    The question and as many records as there is room for stay: resolvers that do not ask again over TCP live on them,
    and take no answer without its question.
    """
    data = packed(reply)
    if len(data) <= question.udp_bytes:
        return data
    reply.ar = [record for record in reply.ar if record.rtype == QTYPE.OPT]
    data = packed(reply)
    if len(data) <= question.udp_bytes:
        return data
    reply.header.tc = 1
    records, fits, too_many = reply.rr, 0, len(reply.rr)
    while too_many - fits > 1:
        middle = (fits + too_many) // 2
        reply.rr = records[:middle]
        if len(packed(reply)) <= question.udp_bytes:
            fits = middle
        else:
            too_many = middle
    reply.rr = records[:fits]
    return packed(reply)


def soa(zone: Zone) -> RR:
    times = (zone.serial, 7200, 1800, 86400, NEGATIVE_TTL_S)
    rdata = SOA(f"ns.dns.{zone.domain}", f"hostmaster.{zone.domain}", times)
    return RR(zone.domain, QTYPE.SOA, ttl=NEGATIVE_TTL_S, rdata=rdata)


def _rotated(found: Sequence[Record], rng: Rng) -> list[Record]:
    """Addresses start at a random one, so that clients which take the first spread; a CNAME stays in front."""
    aliases = [record for record in found if record.type == "CNAME"]
    others = [record for record in found if record.type != "CNAME"]
    if len(others) > 1:
        start = rng.randrange(len(others))
        others = others[start:] + others[:start]
    return aliases + others


def _rr(record: Record, question: Question | None = None) -> RR:
    """The owner's name is given back in the case it was asked in (resolvers use that against forgery)."""
    name = record.name
    if question is not None and question.name.rstrip(".").lower() == name:
        name = question.name
    match record.type:
        case "A":
            rdata, kind = A(record.value), QTYPE.A
        case "AAAA":
            rdata, kind = AAAA(record.value), QTYPE.AAAA
        case "CNAME":
            rdata, kind = CNAME(record.value), QTYPE.CNAME
        case "PTR":
            rdata, kind = PTR(record.value), QTYPE.PTR
        case "SRV":
            rdata, kind = SRV(0, 100, record.port, record.value), QTYPE.SRV
    return RR(name, kind, ttl=TTL_S, rdata=rdata)
