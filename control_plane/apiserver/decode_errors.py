"""What Go's encoding/json says of malformed JSON: found again by a small scanner, run only after a parser failed."""

from __future__ import annotations

import re

MAX_DEPTH = 10_000

_SPACE = re.compile(r"[ \t\r\n]*")
_PLAIN = re.compile(r'[^"\\\x00-\x1f]*')
_NUMBER_STEPS = (
    (re.compile(r"-"), False, ""),
    (re.compile(r"0|[1-9][0-9]*"), True, "in numeric literal"),
)
_DIGITS = re.compile(r"[0-9]+")
_END = "unexpected end of JSON input"


class _Fault(Exception):
    pass


def json_problem(text: str) -> str:
    """Go's message for the first syntax error; empty when the syntax is right."""
    try:
        end = _scan(text)
        end = _skip(text, end)
        if end < len(text):
            raise _invalid(text, end, "after top-level value")
    except _Fault as fault:
        return str(fault)
    return ""


def _invalid(text: str, at: int, where: str) -> _Fault:
    if at >= len(text):
        return _Fault(_END)
    char = text[at]
    shown = {"'": r"'\''", '"': "'\"'"}.get(char) or (
        f"'{char}'" if char.isprintable() else f"'\\x{ord(char):02x}'" if ord(char) < 256 else f"'{char}'"
    )
    shown = {"\n": r"'\n'", "\r": r"'\r'", "\t": r"'\t'"}.get(char, shown)
    return _Fault(f"invalid character {shown} {where}")


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _scan(text: str) -> int:
    """The end of the first value. Iterative: the stack is of our own."""
    stack: list[str] = []
    at = _skip(text, 0)
    while True:
        at = _skip(text, at)
        char = text[at : at + 1]
        if char in ("{", "["):
            stack.append(char)
            if len(stack) > MAX_DEPTH:
                raise _Fault("exceeded max depth")
            at = _skip(text, at + 1)
            if text[at : at + 1] == ("}" if char == "{" else "]"):
                stack.pop()
                at += 1
            elif char == "{":
                at = _key(text, at)
                continue
            else:
                continue
        else:
            at = _atom(text, at)
        while stack:
            at = _skip(text, at)
            closing = "}" if stack[-1] == "{" else "]"
            char = text[at : at + 1]
            if char == ",":
                at = _skip(text, at + 1)
                if stack[-1] == "{":
                    at = _key(text, at)
                break
            if char != closing:
                raise _invalid(text, at, "after object key:value pair" if closing == "}" else "after array element")
            stack.pop()
            at += 1
        else:
            return at


def _key(text: str, at: int) -> int:
    if text[at : at + 1] != '"':
        raise _invalid(text, at, "looking for beginning of object key string")
    at = _skip(text, _string(text, at))
    if text[at : at + 1] != ":":
        raise _invalid(text, at, "after object key")
    return at + 1


def _string(text: str, at: int) -> int:
    at += 1
    while True:
        match = _PLAIN.match(text, at)
        at = match.end() if match else at
        char = text[at : at + 1]
        if char == '"':
            return at + 1
        if char != "\\":
            raise _invalid(text, at, "in string literal")
        escape = text[at + 1 : at + 2]
        if escape == "u":
            for offset in range(2, 6):
                if text[at + offset : at + offset + 1] not in tuple("0123456789abcdefABCDEF"):
                    raise _invalid(text, at + offset, r"in \u hexadecimal character escape")
            at += 6
        elif escape and escape in '"\\/bfnrt':
            at += 2
        else:
            raise _invalid(text, at + 1, "in string escape code")


def _atom(text: str, at: int) -> int:
    char = text[at : at + 1]
    if char == '"':
        return _string(text, at)
    for word in ("true", "false", "null"):
        if char == word[0]:
            for offset, letter in enumerate(word):
                if text[at + offset : at + offset + 1] != letter:
                    raise _invalid(text, at + offset, f"in literal {word} (expecting '{letter}')")
            return at + len(word)
    if char == "-" or char.isdigit():
        return _number(text, at)
    raise _invalid(text, at, "looking for beginning of value")


def _number(text: str, at: int) -> int:
    for pattern, needed, where in _NUMBER_STEPS:
        match = pattern.match(text, at)
        if match:
            at = match.end()
        elif needed:
            raise _invalid(text, at, where)
    if text[at : at + 1] == ".":
        match = _DIGITS.match(text, at + 1)
        if not match:
            raise _invalid(text, at + 1, "after decimal point in numeric literal")
        at = match.end()
    if text[at : at + 1] in ("e", "E"):
        at += 2 if text[at + 1 : at + 2] in ("+", "-") else 1
        match = _DIGITS.match(text, at)
        if not match:
            raise _invalid(text, at, "in exponent of numeric literal")
        at = match.end()
    return at
