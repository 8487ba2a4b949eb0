"""The lines of a run's journal, each with a checksum.

A line that is torn, or reached the disk out of order, has a wrong checksum and is left out.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Any

import msgspec

from dregutil.plan.file import PolicyEntry

__all__ = [
    "FILE_NAME",
    "VERSION",
    "BetweenLine",
    "EndLine",
    "IntentLine",
    "Line",
    "LookedLine",
    "LostLine",
    "OutcomeLine",
    "RestoredLine",
    "RunLine",
    "StepLine",
    "TornLine",
    "decode_line",
    "encode_line",
    "version_of",
]

VERSION = 1
FILE_NAME = "journal.jsonl"
_SUM = 16  # hexadecimal digits of a line's checksum


class RunLine(msgspec.Struct, tag="run", kw_only=True):
    version: int
    run: str
    registry: str
    started: datetime
    command: str
    made_at: datetime | None = None
    undoes: str = ""
    options: dict[str, bool] = {}
    steps: int = 0
    tags_before: dict[str, int] = {}
    reclaimable: int = 0
    exact: bool = False
    because: str = ""
    untagged: bool = False
    other_collector: bool = False
    names_repositories: bool = False
    number: int = 0  # its place among the runs of the state folder; 0 from 2.0.0
    images: list[str] = []  # of an undo: the only images that it puts back; empty for all of its run
    user: str = ""  # who ran it, and where; empty from 2.0.0
    host: str = ""
    plan: str = ""  # the sum of the plan that it carries out; empty from before 3.0.0, and of an undo
    planned_by: str = ""
    approved_by: list[str] = []
    policy: PolicyEntry | msgspec.UnsetType = msgspec.UNSET


class _Version(msgspec.Struct):
    """What any version reads of a first line."""

    version: int


class StepLine(msgspec.Struct, tag="step"):
    plan: msgspec.Raw


class IntentLine(msgspec.Struct, tag="intent", kw_only=True, omit_defaults=True):
    step: int
    repository: str
    tags: list[str]
    digest: str
    media_type: str
    raw: bytes
    placeholder: str = ""
    beside: list[str] = []


class OutcomeLine(msgspec.Struct, tag="outcome", omit_defaults=True):
    step: int
    result: str
    why: str = ""


class RestoredLine(msgspec.Struct, tag="restored", omit_defaults=True):
    repository: str
    digest: str
    tags: list[str]
    why: str = ""


class BetweenLine(msgspec.Struct, tag="between", omit_defaults=True):
    """A look at the tags while no DELETE was in flight: what was deleted before it is accounted for.

    `stays`: tags that are to stay, and that no earlier line names; `gone`: tags that need not stay any more.
    """

    repository: str
    stays: list[str] = []
    gone: list[str] = []


class LookedLine(msgspec.Struct, tag="looked"):
    repository: str


class LostLine(msgspec.Struct, tag="lost", omit_defaults=True):
    repository: str
    tag: str
    candidates: list[str]
    mended: str = ""
    why: str = ""


class TornLine(msgspec.Struct, tag="torn"):
    """The line before was cut off while it was written; its request was not sent."""


class EndLine(msgspec.Struct, tag="end"):
    finished: datetime


Line = (
    RunLine
    | StepLine
    | IntentLine
    | OutcomeLine
    | RestoredLine
    | BetweenLine
    | LookedLine
    | LostLine
    | TornLine
    | EndLine
)
_decoder = msgspec.json.Decoder(Line)
_encoder = msgspec.json.Encoder(enc_hook=str)  # names and digests are subclasses of str


def decode_line(line: bytes) -> Line | None:
    """The record in a line; None if it is torn or altered. Zeros before it, and a lost newline, do no harm."""
    whole = line.lstrip(b"\0").removesuffix(b"\n")
    for text in (whole, whole[:-1]):  # the newline itself may be what was altered
        sum_, _, payload = text.partition(b" ")
        if sum_ == _sum(payload):
            break
    else:
        return None
    try:
        found: Line = _decoder.decode(payload)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    return found


def version_of(line: bytes) -> int | None:
    """The version that the first line of a journal names; None if it cannot be read."""
    sum_, _, payload = line.rstrip(b"\n").partition(b" ")
    if sum_ != _sum(payload):
        return None
    try:
        return msgspec.json.decode(payload, type=_Version).version
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


def encode_line(record: Any) -> bytes:
    payload = _encoder.encode(record)
    return b"%b %b\n" % (_sum(payload), payload)


def _sum(payload: bytes) -> bytes:
    return hashlib.sha256(payload).hexdigest()[:_SUM].encode()
