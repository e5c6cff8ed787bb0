"""What ``hypergene doctor`` prints, and what it leaves with."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

import pytest

from hypergene import __version__
from hypergene.cli import main
from hypergene.pipeline import doctor as examination
from hypergene.pipeline.doctor import Finding
from hypergene.pipeline.doctor.finding import Level


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as leaving:
        main(arguments)
    assert isinstance(leaving.value.code, int)
    return leaving.value.code


@pytest.fixture
def finds(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def set_up(*levels: Level) -> None:
        found = [
            Finding("disk", f"code_{n}", level, f"It is {n}.", "" if level == "pass" else "Do it.")
            for n, level in enumerate(levels)
        ]

        def examine(*, offline: bool, tell: Callable[[Finding], None] | None) -> list[Finding]:
            assert offline
            for finding in found if tell is not None else ():
                tell(finding)
            return found

        monkeypatch.setattr(examination, "examine", examine)

    return set_up


@pytest.mark.parametrize(
    ("levels", "code", "summary"),
    [
        (("pass",), 0, "1 passed, 0 warnings, 0 failures"),
        (("pass", "warn"), 0, "1 passed, 1 warning, 0 failures"),
        (("fail", "warn", "fail"), 1, "0 passed, 1 warning, 2 failures"),
    ],
)
def test_only_a_failure_leaves_with_1(
    finds: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
    levels: tuple[Level, ...],
    code: int,
    summary: str,
) -> None:
    finds(*levels)
    assert run("doctor", "--offline") == code
    out = capsys.readouterr().out
    assert summary in out and "\033" not in out
    words = [line.split()[0] for line in out.splitlines() if line and line[0] in "PWF"]
    assert words == [level.upper() for level in levels]
    assert out.count("-> Do it.") == sum(level != "pass" for level in levels)


def test_json_has_the_keys_that_are_documented(
    finds: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    finds("pass", "fail")
    assert run("doctor", "--offline", "--json") == 1
    answer = json.loads(capsys.readouterr().out)
    assert list(answer) == ["ok", "hypergene", "seconds", "findings"]
    assert (answer["ok"], answer["hypergene"]) == (False, __version__)
    keys = ["group", "code", "level", "message", "fix", "facts"]
    assert [list(row) for row in answer["findings"]] == [keys, keys]


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_colour_is_for_terminals_that_want_it(
    finds: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    no_color: str,
    coloured: bool,
) -> None:
    finds("pass", "warn", "fail")
    monkeypatch.setenv("NO_COLOR", no_color)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert run("doctor", "--offline") == 1
    assert ("\033[31mFAIL" in capsys.readouterr().out) == coloured
