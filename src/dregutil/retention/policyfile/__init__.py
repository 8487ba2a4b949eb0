"""A policy file: its text → policies, or all its mistakes at once, each with its place and the nearest name."""

from __future__ import annotations

from dregutil.retention.policyfile.reader import PolicyError, read_policy
from dregutil.retention.policyfile.shape import policy_schema
from dregutil.retention.policyfile.tree import Mistake

__all__ = ["Mistake", "PolicyError", "policy_schema", "read_policy"]
