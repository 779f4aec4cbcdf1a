"""What members say to each other: an allow-list of message types, checked field by field when they are decoded.

On the wire a message is a msgpack map with its `type`. Those that Raft itself handles have the shape of pysyncobj's
dicts, so that sending encodes the dict as it is; what arrives is decoded into these structs first, and anything
that does not fit is an error of the peer.
"""

from __future__ import annotations

import msgspec

MAX_FRAME_BYTES = 32 << 20
PROTOCOL = 1


class Message(msgspec.Struct, tag_field="type", forbid_unknown_fields=True):
    """Base of all."""


class Hello(Message, tag="hello"):
    """The first message on a link, both ways."""

    protocol: int
    cluster_id: int
    name: str
    to: str


class Beat(Message, tag="beat"):
    """Nothing to say; the link is alive."""


class AppendEntries(Message, tag="append_entries"):
    term: int
    commit_index: int
    entries: list[tuple[bytes, int, int]]
    prevLogIdx: int | None
    prevLogTerm: int | None


class Install(Message, tag="install"):
    """A piece of a snapshot: data, is first, is last."""

    term: int
    commit_index: int
    serialized: tuple[bytes, bool, bool] | None


class RequestVote(Message, tag="request_vote"):
    term: int
    last_log_index: int
    last_log_term: int


class ResponseVote(Message, tag="response_vote"):
    term: int


class NextNodeIdx(Message, tag="next_node_idx"):
    """A follower's answer to entries; `term` is the one it was made in."""

    term: int
    next_node_idx: int
    reset: bool
    success: bool


class ApplyCommand(Message, tag="apply_command"):
    command: bytes
    request_id: int


class ApplyCommandResponse(Message, tag="apply_command_response", omit_defaults=True):
    request_id: int
    log_idx: int | None = None
    log_term: int | None = None
    error: int | None = None


class TimeoutNow(Message, tag="timeout_now"):
    term: int


class Ping(Message, tag="ping"):
    """Is `term` still the newest you know of? Confirms leadership for reads."""

    term: int
    number: int


class Pong(Message, tag="pong"):
    term: int
    number: int


class Ask(Message, tag="ask"):
    """A follower asks the leader: `read_index`, `keep_alive` or `left_ms` (argument: the lease)."""

    number: int
    what: str
    argument: int


class Answer(Message, tag="answer"):
    number: int
    ok: bool
    value: int
    error: str


Any = (
    Hello
    | Beat
    | AppendEntries
    | Install
    | RequestVote
    | ResponseVote
    | NextNodeIdx
    | ApplyCommand
    | ApplyCommandResponse
    | TimeoutNow
    | Ping
    | Pong
    | Ask
    | Answer
)
RAFT = (
    AppendEntries,
    Install,
    RequestVote,
    ResponseVote,
    NextNodeIdx,
    ApplyCommand,
    ApplyCommandResponse,
    TimeoutNow,
)

_decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(Any)
_encoder = msgspec.msgpack.Encoder()


def decode(data: bytes | memoryview) -> Any:
    """Raises msgspec.DecodeError (ValidationError) on anything that is not one of the messages."""
    return _decoder.decode(data)


def encode(message: Message | dict[str, object]) -> bytes:
    return _encoder.encode(message)


def to_raft(message: Any) -> dict[str, object]:
    """The dict that pysyncobj takes."""
    result = msgspec.structs.asdict(message)
    if isinstance(message, Install):
        result["type"] = "append_entries"
    else:
        result["type"] = message.__struct_config__.tag
    if isinstance(message, ApplyCommandResponse) and message.error is None:
        del result["error"]
    return result


def from_raft(message: dict[str, object]) -> dict[str, object]:
    """The wire form of pysyncobj's dict. Raises ValueError for what the allow-list does not have."""
    kind = message["type"]
    if kind == "append_entries":
        if "transmission" in message:
            raise ValueError("an entry is larger than a batch")
        if "serialized" in message:
            return {**message, "type": "install"}
    return message
