"""Signatures and other referrers: which subject each belongs to, and whether that stays."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace

from dregutil.oci.names import Digest, SignatureTag, parse_signature_tag
from dregutil.retention.verdict import Decision, Reason, ReasonKind, Verdict

__all__ = ["follow", "subjects_of"]

_FALLBACK_HEX = 64  # the fallback tag of a longer digest is cut to this (OCI distribution-spec, "Referrers Tag Schema")


def follow(verdicts: Sequence[Verdict]) -> tuple[Verdict, ...]:
    """The verdicts of a repository; those with FOLLOW get a reason that names the subject and whether it stays."""
    named = _Named(verdicts)
    return tuple(
        replace(verdict, reasons=(Reason(ReasonKind.SIGNATURE, named.text(verdict)),))
        if verdict.decision is Decision.FOLLOW
        else verdict
        for verdict in verdicts
    )


def subjects_of(verdict: Verdict, verdicts: Sequence[Verdict]) -> tuple[Verdict, ...]:
    """The verdicts on the tags of the subjects of `verdict`."""
    return tuple(_Named(verdicts).subjects(verdict))


class _Named:
    """The verdicts of a repository, by digest."""

    def __init__(self, verdicts: Sequence[Verdict]) -> None:
        self._on: dict[str, list[Verdict]] = defaultdict(list)
        self._within: dict[str, list[Verdict]] = defaultdict(list)
        for verdict in verdicts:
            self._on[_key(verdict.facts.digest)].append(verdict)
            for child in verdict.facts.contains:
                self._within[_key(child)].append(verdict)

    def subjects(self, verdict: Verdict) -> Iterator[Verdict]:
        signature = _signature(verdict)
        for key in _keys(verdict, signature):
            for other in self._on.get(key, ()):
                digest = other.facts.digest
                if digest == verdict.facts.subject or (signature is not None and signature.names(digest)):
                    yield other

    def text(self, verdict: Verdict) -> str:
        subjects = [other for other in self.subjects(verdict) if other.facts.digest != verdict.facts.digest]
        if subjects:
            stays = [other for other in subjects if other.decision is not Decision.REMOVE]
            shown = (stays or subjects)[0]
            if shown.decision is Decision.FOLLOW:
                return f"belongs to {_shown(shown)}"
            return f"belongs to {_shown(shown)}, which {'stays' if stays else 'goes'}"
        signature = _signature(verdict)
        name = "its subject"
        if verdict.facts.subject is not None:
            name = verdict.facts.subject.short
        elif signature is not None:
            name = f"{signature.algorithm}:{signature.hex[:12]}"
        within = [other for key in _keys(verdict, signature) for other in self._within.get(key, ())]
        if within:
            stays = [other for other in within if not other.goes]
            return f"belongs to {name}, a child of {_shown((stays or within)[0])}"
        return f"belongs to {name}, which has no tag here"


def _shown(verdict: Verdict) -> str:
    tag = verdict.facts.tag
    return verdict.facts.digest.short if tag is None else f"'{tag}'"


def _signature(verdict: Verdict) -> SignatureTag | None:
    return None if verdict.facts.tag is None else parse_signature_tag(verdict.facts.tag)


def _keys(verdict: Verdict, signature: SignatureTag | None) -> Iterator[str]:
    if verdict.facts.subject is not None:
        yield _key(verdict.facts.subject)
    if signature is not None:
        yield f"{signature.algorithm}:{signature.hex[:_FALLBACK_HEX]}"


def _key(digest: Digest) -> str:
    return f"{digest.algorithm}:{digest.hex[:_FALLBACK_HEX]}"
