"""action.yml, templates/dregutil.yml and the example workflow: valid, pinned, and safe against injection."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from documents import ROOT
from dregutil import __version__

ACTION = ROOT / "action.yml"
WORKFLOW = ROOT / "examples" / "github" / "registry-cleanup.yml"
COMPONENT = ROOT / "templates" / "dregutil.yml"
PLACE = "OWNER/docker-registry-util@COMMIT"
ACTIONLINT = ROOT / ".cache" / "go" / "bin" / "actionlint"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository with the workflow, in which the action has an owner and a commit, and with the action."""
    workflow = tmp_path / ".github" / "workflows" / "registry-cleanup.yml"
    workflow.parent.mkdir(parents=True)
    text = WORKFLOW.read_text()
    assert text.count(PLACE) == 2
    workflow.write_text(text.replace(PLACE, f"team/docker-registry-util@{'0a' * 20}"))
    (tmp_path / "action.yml").write_text(ACTION.read_text())
    return tmp_path


def _ran(*words: str | Path, cwd: Path = ROOT) -> str:
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, check=False, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    return str(done.stdout)


def _beside(name: str) -> Path:
    return Path(sys.executable).with_name(name)


def test_actionlint_finds_nothing(checkout: Path) -> None:
    if not ACTIONLINT.exists():
        pytest.skip("actionlint is not built here")
    assert _ran(ACTIONLINT, "-no-color", ".github/workflows/registry-cleanup.yml", cwd=checkout) == ""
    broken = checkout / ".github" / "workflows" / "broken.yml"
    broken.write_text(WORKFLOW.read_text().replace("runs-on", "run-on"))
    assert subprocess.run([ACTIONLINT, broken], cwd=checkout, capture_output=True, check=False).returncode == 1


def test_zizmor_finds_nothing(checkout: Path) -> None:
    command = (_beside("zizmor"), "--offline", "--no-progress", "--persona", "auditor", "--min-severity", "low")
    _ran(*command, checkout)
    broken = checkout / ".github" / "workflows" / "broken.yml"
    broken.write_text(WORKFLOW.read_text().replace("pull_request:", "pull_request_target:"))
    assert subprocess.run([*command, checkout], capture_output=True, check=False).returncode != 0


@pytest.mark.parametrize(
    ("schema", "path"),
    [("vendor.github-workflows", WORKFLOW), ("vendor.github-actions", ACTION)],
    ids=["workflow", "action"],
)
def test_they_follow_their_schemas(schema: str, path: Path) -> None:
    _ran(_beside("check-jsonschema"), "--builtin-schema", schema, path)


def test_the_jobs_of_the_component_follow_their_schema(tmp_path: Path) -> None:
    head, jobs = COMPONENT.read_text().split("\n---\n")
    inputs = yaml.safe_load(head)["spec"]["inputs"]
    assert {*re.findall(r"\$\[\[ inputs\.(\w+) \]\]", jobs)} == {*inputs}
    assert all("description" in one or name == "stage" for name, one in inputs.items())
    (tmp_path / ".gitlab-ci.yml").write_text(re.sub(r"\$\[\[ inputs\.\w+ \]\]", "deploy", jobs))
    schema = ("--builtin-schema", "vendor.gitlab-ci", "--data-transform", "gitlab-ci")
    _ran(_beside("check-jsonschema"), *schema, tmp_path / ".gitlab-ci.yml")


def test_no_script_has_an_expression() -> None:
    """What a user, or somebody else's branch, names comes to a script in its environment, in quotes."""
    steps = yaml.safe_load(ACTION.read_text())["runs"]["steps"]
    scripts = [step["run"] for step in steps if "run" in step]
    jobs = [*yaml.safe_load_all(COMPONENT.read_text())][1]
    scripts += [line for job in jobs.values() for key in ("before_script", "script") for line in job.get(key, ())]
    assert len(scripts) == 5
    for script in scripts:
        assert "${{" not in script
        assert "$[[" not in script
        assert not re.search(r'(?<!")\$\w+(?![\w/.-]*")', re.sub(r'"[^"]*"', '""', script)), "a variable without quotes"


def test_every_action_is_pinned_to_a_commit() -> None:
    for path in (ACTION, WORKFLOW):
        for name in re.findall(r"uses: (\S+)", path.read_text()):
            assert name == PLACE or re.fullmatch(r"actions/(checkout|upload-artifact)@[0-9a-f]{40}", name), name
            assert name == PLACE or re.search(rf"{name} # v\d+\.\d+\.\d+\n", path.read_text())


def test_jobs_have_no_more_rights_than_they_need() -> None:
    workflow = yaml.safe_load(WORKFLOW.read_text())
    assert workflow["permissions"] == {}
    rights = {name: job["permissions"] for name, job in workflow["jobs"].items()}
    assert rights == {
        "plan": {"contents": "read", "pull-requests": "write"},
        "apply": {"actions": "read", "contents": "read", "pull-requests": "write"},
    }
    assert {*workflow[True]} == {"pull_request", "push"}  # YAML reads `on` as true
    places = {name: job["environment"] for name, job in workflow["jobs"].items()}
    assert places == {"plan": "registry-plan", "apply": "registry"}
    assert "github.event.pull_request.head.repo.full_name == github.repository" in workflow["jobs"]["plan"]["if"]


def test_the_component_installs_this_version() -> None:
    inputs = next(yaml.safe_load_all(COMPONENT.read_text()))["spec"]["inputs"]
    assert inputs["package"]["default"] == f"docker-registry-util=={__version__}"
    for name in ("registry", "policy", "package"):
        pattern = re.compile(inputs[name]["regex"].strip("/"))
        assert not pattern.fullmatch('a";id"')
        assert not pattern.fullmatch("$(id)")
