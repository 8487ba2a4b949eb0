"""Retention: policies, lists of images in use, and a verdict with reasons for each tag.

Pure: texts, facts and the current time are passed in. Only `facts` and `read_lists` read: the content database, and
the lists' files. Nothing here reaches a registry.
"""

from __future__ import annotations

from dregutil.retention.judge import judge, judge_repository
from dregutil.retention.policy import ParsedPolicy, ParsedProtect, PolicySet
from dregutil.retention.verdict import Decision, Former, InUse, Judgement, Reason, ReasonKind, Served, TagFacts, Verdict

__all__ = [
    "Decision",
    "Former",
    "InUse",
    "Judgement",
    "ParsedPolicy",
    "ParsedProtect",
    "PolicySet",
    "Reason",
    "ReasonKind",
    "Served",
    "TagFacts",
    "Verdict",
    "judge",
    "judge_repository",
]
