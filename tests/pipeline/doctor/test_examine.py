"""The examination ends, whatever the machine does, and every finding says what to do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hypergene.errors import ModelError
from hypergene.pipeline.doctor import Finding, examine
from hypergene.pipeline.doctor import examine as examine_here
from hypergene.pipeline.doctor.examine import Check, checks, run_check

GROUPS = ["python", "torch", "slides", "packages", "machine", "disk", "hub", "model"]


@pytest.fixture(scope="module")
def found() -> list[Finding]:
    return examine(offline=True)


def test_every_group_is_told_in_order(found: list[Finding]) -> None:
    assert list(dict.fromkeys(finding.group for finding in found)) == GROUPS
    assert [check.group for check in checks()] == GROUPS


def test_nothing_fails_where_the_tests_run(found: list[Finding]) -> None:
    # Disks and memory are the machine's own affair; all else must work for the tests to pass.
    mine = [each for each in found if each.group not in ("disk", "machine")]
    assert [each.message for each in mine if each.level == "fail"] == []


def test_codes_are_unique_and_findings_are_plain(found: list[Finding]) -> None:
    codes = [(finding.group, finding.code) for finding in found]
    assert len(set(codes)) == len(codes)
    for finding in found:
        assert finding.message and "\n" not in finding.message
        assert bool(finding.fix) == (finding.level != "pass")
        assert json.loads(json.dumps(finding.facts)) == finding.facts


def test_findings_are_told_as_they_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        sys.modules["hypergene.pipeline.doctor.examine"],
        "checks",
        lambda offline: [Check("x", lambda: [Finding("x", str(offline), "pass", "It is.")], 5)],
    )
    told: list[Finding] = []
    assert examine_here(offline=True, tell=told.append) == told
    assert told[0].code == "True"


def one_then(error: Exception) -> Check:
    def look() -> Iterator[Finding]:
        yield Finding("disk", "first", "pass", "It is.")
        raise error

    return Check("disk", look, 5)


@pytest.mark.parametrize(
    ("error", "message", "fix"),
    [
        (ZeroDivisionError("by zero"), "ZeroDivisionError: by zero", "report"),
        (ModelError("It is damaged.", hint="Fetch it."), "It is damaged.", "Fetch it."),
        (ModuleNotFoundError("No module named 'x'"), "No module named 'x'", "pip install"),
    ],
)
def test_a_check_that_raises_is_a_finding_and_keeps_what_it_found(
    error: Exception, message: str, fix: str
) -> None:
    first, failed = run_check(one_then(error))
    assert first.code == "first"
    assert (failed.group, failed.code, failed.level) == ("disk", "failed", "fail")
    assert message in failed.message and fix in failed.fix


def test_a_check_that_hangs_is_given_up_on() -> None:
    def look() -> Iterator[Finding]:
        yield Finding("disk", "first", "pass", "It is.")
        time.sleep(60)

    start = time.monotonic()
    first, hung = run_check(Check("disk", look, 0.2))
    assert time.monotonic() - start < 10
    assert first.code == "first"
    assert (hung.code, hung.level) == ("hung", "fail") and "0.2 s" in hung.message


def test_a_machine_without_torch_is_told_so_and_the_rest_is_examined(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError('libcudart.so.13: cannot open')\n")
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(
        [sys.executable, "-m", "hypergene", "doctor", "--json", "--offline"],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{root}"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    answer = json.loads(done.stdout)
    failed = {row["group"] for row in answer["findings"] if row["level"] == "fail"}
    assert {"torch", "model"} <= failed and not answer["ok"]
    assert any("libcudart.so.13" in row["message"] for row in answer["findings"])
    passed = {row["group"] for row in answer["findings"] if row["level"] == "pass"}
    assert {"python", "slides", "machine", "hub"} <= passed
