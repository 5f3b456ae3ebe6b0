"""What tools outside the project read agrees with the project: GitHub's workflow, pre-commit's hooks, the citation.

Not here: environment.yml (test_project.py), whether a workflow is well formed (actionlint says that).
"""

import re
import tomllib
from pathlib import Path

import yaml

import minivis

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def read(name):
    """A file in YAML."""
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def test_the_tests_run_on_every_system_and_python():
    matrix = read(".github/workflows/test.yml")["jobs"]["tests"]["strategy"]["matrix"]
    assert matrix["os"] == ["ubuntu", "macos", "windows"]
    named = [line.rpartition(" ")[2] for line in PROJECT["classifiers"] if ":: Python ::" in line]
    assert matrix["python"] == named == ["3.11", "3.12", "3.13"]


def test_a_workflow_may_read_and_nothing_more():
    workflow = read(".github/workflows/test.yml")
    assert workflow["permissions"] == {"contents": "read"}
    for name, job in workflow["jobs"].items():
        assert "permissions" not in job and job["timeout-minutes"] <= 60, name
        checkouts = [step for step in job["steps"] if step.get("uses", "").startswith("actions/checkout@")]
        assert [step["with"]["persist-credentials"] for step in checkouts] == [False], name


def test_the_workflow_does_what_ci_run_does():
    """Each of its make targets is one of the workflow's commands; the tests stand there as pytest."""
    steps = [
        step.get("run", "")
        for job in read(".github/workflows/test.yml")["jobs"].values()
        for step in job["steps"]
    ]
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    targets = re.findall(r"(?m)^make ([a-z-]+)", script)
    assert "test" in targets and len(targets) > 3
    assert {f"make {target}" for target in targets if target != "test"} <= set(steps)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (extras,) = re.findall(r"(?m)^EXTRAS \?= (\S+)$", makefile)
    assert f'python -m pip install --editable ".[{extras}]"' in steps
    assert any(step.startswith("python -m pytest ") for step in steps)


def test_pre_commit_runs_the_ruff_of_the_project():
    (pinned,) = [name for name in PROJECT["optional-dependencies"]["dev"] if name.startswith("ruff")]
    (local,) = read(".pre-commit-config.yaml")["repos"]
    assert local["repo"] == "local"
    assert [hook["additional_dependencies"] for hook in local["hooks"]] == [[pinned], [pinned]]
    lint = re.findall(
        r"(?m)^\t\$\(BIN\)/(ruff (?:check|format --check)) \.$",
        (ROOT / "Makefile").read_text(encoding="utf-8"),
    )
    assert [hook["entry"] for hook in local["hooks"]] == [f"{command} --force-exclude" for command in lint]


def test_the_citation_is_of_this_project():
    citation = read("CITATION.cff")
    assert citation["cff-version"] == "1.2.0" and citation["type"] == "software"
    assert citation["title"].startswith(f"{PROJECT['name']}: ") and citation["license"] == PROJECT["license"]
    assert citation["authors"] == PROJECT["authors"]
    assert citation.get("version", minivis.__version__) == minivis.__version__
    assert set(citation["keywords"]) <= set(PROJECT["keywords"])
