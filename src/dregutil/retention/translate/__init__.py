"""Retention rules of other registries, as their APIs export them → a policy file, and what it cannot say.

A translation never removes what the rules there keep, unless it says so: where a rule cannot be written here, its tags
are kept. Pure: texts are passed in.
"""

from __future__ import annotations

from dregutil.retention.translate.translate import SERVICES, Translation, translate

__all__ = ["SERVICES", "Translation", "translate"]
