"""A policy file, or the same written in Python → policies, or all mistakes at once, each with its place and the nearest
name. Reads no file and no registry."""

from __future__ import annotations

from dregutil.retention.policyfile.objects import Keep, Policy, Protect, Select, policy_set
from dregutil.retention.policyfile.reader import PolicyError, read_policy
from dregutil.retention.policyfile.shape import policy_schema
from dregutil.retention.policyfile.tree import Mistake

__all__ = [
    "Keep",
    "Mistake",
    "Policy",
    "PolicyError",
    "Protect",
    "Select",
    "policy_schema",
    "policy_set",
    "read_policy",
]
