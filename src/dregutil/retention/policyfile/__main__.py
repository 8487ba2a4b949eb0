"""`python -m dregutil.retention.policyfile > docs/policy.schema.json`"""

from __future__ import annotations

import json
import sys

from dregutil.retention.policyfile.shape import policy_schema

sys.stdout.write(json.dumps(policy_schema(), indent=2) + "\n")
