"""`python -m dregutil.policyfile > docs/policy.schema.json`"""

from __future__ import annotations

import json
import sys

from dregutil.policyfile.shape import policy_schema

sys.stdout.write(json.dumps(policy_schema(), indent=2) + "\n")
