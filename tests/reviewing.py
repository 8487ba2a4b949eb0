"""Runs action.yml and templates/dregutil.yml as their runners do: each script in bash, on a service of this process."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from documents import ROOT
from servers.forges import Forge, GitHubServer, GitLabServer

POLICY = "version: 1\npolicies:\n  - {{name: all, repositories: ['**'], keep: {{last: {last}}}, max_remove: 90%}}\n"
_SHIM = """#!/bin/sh
echo "$@" >>"{log}"
[ "$1 $2" = "-m venv" ] || exec {python} "$@"
mkdir -p "$3/bin"
cat >"$3/bin/python" <<'END'
#!/bin/sh
[ "$1 $2" = "-m pip" ] || exec {python} "$@"
echo "$@" >>"{log}"
END
chmod +x "$3/bin/python"
"""


class Runner(ABC):
    """A checkout with a policy, and jobs on it. `installed` is what they install; instead of it they get this tree."""

    forge: Forge

    def __init__(self, folder: Path, registry: str) -> None:
        self.folder, self.registry = folder, registry
        self.checkout = folder / "checkout"
        self.log = folder / "python.log"
        (folder / "bin").mkdir()
        self.checkout.mkdir()
        shim = folder / "bin" / "python3"
        shim.write_text(_SHIM.format(log=self.log, python=sys.executable))
        shim.chmod(0o755)
        self._job = 0

    def write_policy(self, last: int) -> None:
        (self.checkout / "policy.yml").write_text(POLICY.format(last=last))

    @abstractmethod
    def plan(self, change: int = 3, head: str = "a" * 40, *, fork: bool = False) -> subprocess.CompletedProcess[str]:
        """A job about a change."""

    @abstractmethod
    def apply(self, commit: str = "c" * 40) -> subprocess.CompletedProcess[str]:
        """A job of the main branch."""

    @property
    @abstractmethod
    def records(self) -> Path:
        """The folder that the last job keeps."""

    @property
    def installed(self) -> str:
        return self.log.read_text()

    def next_job(self) -> int:
        self._job += 1
        return self._job

    def bash(self, script: str, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        path = f"{self.folder / 'bin'}:{os.environ['PATH']}"
        return subprocess.run(
            ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "-c", script],
            cwd=self.checkout,
            env={"PATH": path, "HOME": str(self.folder), "PYTHONPATH": str(ROOT / "src"), **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )


class GitHubRunner(Runner):
    """Runs the composite action."""

    def __init__(self, folder: Path, registry: str) -> None:
        super().__init__(folder, registry)
        self.forge = GitHubServer()
        self.outputs: dict[str, dict[str, str]] = {}

    @property
    def temp(self) -> Path:
        return self.folder / f"temp-{self._job}"

    @property
    def records(self) -> Path:
        return Path(self.outputs["install"]["state"])

    def plan(self, change: int = 3, head: str = "a" * 40, *, fork: bool = False) -> subprocess.CompletedProcess[str]:
        job = self.next_job()
        self.forge.jobs[job] = head
        repository = {"full_name": "mallory/images" if fork else "team/images"}
        event = {"pull_request": {"number": change, "head": {"sha": head, "repo": repository}}}
        return self._run(job, "pull_request", event, f"refs/pull/{change}/merge", "b" * 40)

    def apply(self, commit: str = "c" * 40) -> subprocess.CompletedProcess[str]:
        event = {"repository": {"default_branch": "main"}}
        return self._run(self.next_job(), "push", event, "refs/heads/main", commit)

    def _run(self, job: int, name: str, event: Any, ref: str, commit: str) -> subprocess.CompletedProcess[str]:
        self.temp.mkdir()
        (self.temp / "event.json").write_text(json.dumps(event))
        given = {
            "GITHUB_ACTIONS": "true",
            "GITHUB_API_URL": self.forge.url,
            "GITHUB_EVENT_NAME": name,
            "GITHUB_EVENT_PATH": str(self.temp / "event.json"),
            "GITHUB_REF": ref,
            "GITHUB_REPOSITORY": "team/images",
            "GITHUB_RUN_ID": str(job),
            "GITHUB_SHA": commit,
            "GITHUB_STEP_SUMMARY": str(self.temp / "summary.md"),
            "RUNNER_TEMP": str(self.temp),
        }
        action = yaml.safe_load((ROOT / "action.yml").read_text())
        inputs = {key: str(one.get("default", "")) for key, one in action["inputs"].items()}
        inputs["registry"] = self.registry
        self.outputs = {}
        last, failed = None, False
        for number, step in enumerate(action["runs"]["steps"]):
            if failed and "always()" not in step.get("if", ""):
                continue
            if "uses" in step:
                self._uses(job, step, inputs)
                continue
            output = self.temp / f"output-{number}"
            output.touch()
            own = {key: self._expanded(value, inputs) for key, value in step.get("env", {}).items()}
            done = self.bash(step["run"], {**given, **own, "GITHUB_OUTPUT": str(output)})
            self.outputs[step["id"]] = dict(line.split("=", 1) for line in output.read_text().splitlines())
            if not failed:
                last, failed = done, done.returncode != 0
        assert last is not None
        return last

    def _uses(self, job: int, step: Any, inputs: Mapping[str, str]) -> None:
        """actions/upload-artifact, if the step is to run."""
        assert step["uses"].startswith("actions/upload-artifact@")
        wanted = re.fullmatch(r"\$\{\{ always\(\) && steps.review.outputs.mode == '(\w+)' \}\}", step["if"])
        assert wanted is not None
        if self.outputs.get("review", {}).get("mode") != wanted[1]:
            return
        path = Path(self._expanded(step["with"]["path"], inputs))
        if path.is_file():
            name = self._expanded(step["with"]["name"], inputs)
            self.forge.files.setdefault(job, {})[name] = path.read_bytes()

    def _expanded(self, text: str, inputs: Mapping[str, str]) -> str:
        def value(found: re.Match[str]) -> str:
            match found[1].split("."):
                case ["inputs", name]:
                    return self._expanded(inputs[name], inputs)
                case ["steps", step, "outputs", name]:
                    return self.outputs.get(step, {}).get(name, "")
                case ["runner", "temp"]:
                    return str(self.temp)
                case ["github", "token"]:
                    return self.forge.token
                case ["github", "action_path"]:
                    return str(ROOT)
            raise AssertionError(found[0])

        return re.sub(r"\$\{\{ ([\w.]+) \}\}", value, text)


class GitLabRunner(Runner):
    """Runs the jobs of the component."""

    def __init__(self, folder: Path, registry: str) -> None:
        super().__init__(folder, registry)
        self.forge = GitLabServer()

    @property
    def records(self) -> Path:
        return self.checkout / "dregutil-state"

    def plan(self, change: int = 3, head: str = "a" * 40, *, fork: bool = False) -> subprocess.CompletedProcess[str]:
        job = self.next_job()
        self.forge.jobs[job] = f"refs/merge-requests/{change}/head"
        given = {
            "CI_PIPELINE_SOURCE": "merge_request_event",
            "CI_MERGE_REQUEST_IID": str(change),
            "CI_MERGE_REQUEST_SOURCE_PROJECT_ID": "8" if fork else "7",
            "CI_COMMIT_SHA": head,
        }
        return self._run(job, "dregutil-plan", given)

    def apply(self, commit: str = "c" * 40) -> subprocess.CompletedProcess[str]:
        given = {"CI_PIPELINE_SOURCE": "push", "CI_COMMIT_BRANCH": "main", "CI_COMMIT_SHA": commit}
        return self._run(self.next_job(), "dregutil-apply", given)

    def _run(self, job: int, name: str, given: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        head, jobs = yaml.safe_load_all((ROOT / "templates" / "dregutil.yml").read_text())
        inputs = {key: one.get("default", "") for key, one in head["spec"]["inputs"].items()}
        inputs["registry"] = self.registry
        text = re.sub(r"\$\[\[ inputs\.(\w+) \]\]", lambda found: inputs[found[1]], json.dumps(jobs))
        found = json.loads(text)
        made = {**found[found[name]["extends"]], **found[name]}
        fixed = {
            "GITLAB_CI": "true",
            "CI_API_V4_URL": self.forge.url,
            "CI_DEFAULT_BRANCH": "main",
            "CI_JOB_ID": str(job),
            "CI_PROJECT_ID": "7",
            "DREGUTIL_GITLAB_TOKEN": self.forge.token,
        }
        done = self.bash("\n".join([*made["before_script"], *made["script"]]), {**fixed, **made["variables"], **given})
        for folder in made["artifacts"]["paths"]:
            for path in (self.checkout / folder).rglob("plan.jsonl"):
                self.forge.files.setdefault(job, {})[path.relative_to(self.checkout).as_posix()] = path.read_bytes()
        return done
