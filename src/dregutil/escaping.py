"""Text of others, made fit to be shown: what would steer a terminal, or show a line in another order than it has, is
written out. Pure.

Escaped are control characters (C0, DEL, C1), those that turn the direction of writing, those that are not seen at all,
line separators, and bytes of an argument or a file's name that are not UTF-8.
"""

from __future__ import annotations

import re

__all__ = ["escaped", "escaped_json"]

_STEERING = (
    "\x00-\x1f\x7f-\x9f\u00ad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u115f\u1160\u180e\u200b-\u200f"
    "\u2028-\u202e\u2060-\u206f\u3164\ud800-\udfff\ufeff\uffa0\ufff9-\ufffb"
    "\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e007f"
)
_ANY = re.compile(f"[{_STEERING}]")
_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_BYTE = range(0xDC80, 0xDD00)  # how Python keeps a byte that is not UTF-8


def escaped(text: str, *, keep: str = "") -> str:
    """`text` on one line, with `\\x1b` or `\\u202e` for what is not shown as it is; characters of `keep` stay."""
    if text.isascii() and text.isprintable():
        return text
    return _ANY.sub(lambda found: found[0] if found[0] in keep else _written(found[0]), text)


def escaped_json(text: str) -> str:
    """A JSON text with the same characters as `\\uXXXX`: it means the same, to whatever reads it. Its lines stay."""
    return text if text.isascii() else _ANY.sub(lambda found: _in_json(found[0]), text)


def _written(character: str) -> str:
    code = ord(character)
    if character in _NAMED:
        return _NAMED[character]
    if code in _BYTE:
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _in_json(character: str) -> str:
    if character == "\n":
        return character
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[place : place + 2].hex()}" for place in range(0, len(units), 2))
