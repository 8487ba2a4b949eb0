"""`python -m dregutil.review`: the plan as a comment, in a job about a change; apply it, in one of the main branch."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from dregutil.errors import DregutilError, UsageError
from dregutil.review.github import GitHub
from dregutil.review.gitlab import GitLab
from dregutil.review.run import Review
from dregutil.review.service import Service


def main(arguments: list[str] | None = None) -> int:
    """Run, and return the exit status: that of `dregutil`."""
    parser = argparse.ArgumentParser(prog="python -m dregutil.review", description=__doc__)
    parser.add_argument("--policy", required=True, help="the policy file, or a folder of them")
    parser.add_argument("--out", type=Path, default=Path("dregutil-review"), help="the folder for the plan")
    parser.add_argument("--state-dir", type=Path, default=Path("dregutil-state"), help="the folder for the records")
    args = parser.parse_args(arguments)
    try:
        return Review(_service(), args.policy, args.out, args.state_dir).run()
    except DregutilError as error:
        sys.stderr.write(f"dregutil: {error.message}\n")
        if error.advice:
            sys.stderr.write(f"  {error.advice}\n")
        return error.exit_code


def _service() -> Service:
    if os.environ.get("GITHUB_ACTIONS") == "true":
        return GitHub(os.environ)
    if os.environ.get("GITLAB_CI") == "true":
        return GitLab(os.environ)
    raise UsageError(
        "this is no job of GitHub Actions or GitLab CI", advice="`dregutil cleanup --dry-run` shows a plan"
    )


if __name__ == "__main__":
    sys.exit(main())
