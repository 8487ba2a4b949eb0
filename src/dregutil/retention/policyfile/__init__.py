"""Policy files, and the same policies written in Python → parsed policies, or all mistakes, each with its place.

Parses text and values; reads no file and no registry.
"""

from __future__ import annotations

from dregutil.retention.policyfile.folder import read_policies
from dregutil.retention.policyfile.objects import Floor, Keep, Policy, Protect, RegexGroup, Select, policy_set
from dregutil.retention.policyfile.reader import PolicyError, read_policy
from dregutil.retention.policyfile.shape import policy_schema
from dregutil.retention.policyfile.tree import Mistake

__all__ = [
    "Floor",
    "Keep",
    "Mistake",
    "Policy",
    "PolicyError",
    "Protect",
    "RegexGroup",
    "Select",
    "policy_schema",
    "policy_set",
    "read_policies",
    "read_policy",
]
