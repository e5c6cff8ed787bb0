from __future__ import annotations

from pathlib import Path

from hypergene.pipeline.checks.row import SampleRow
from hypergene.pipeline.checks.table import in_words, platforms_text, table_text, verdicts_text
from hypergene.pipeline.checks.verdict import Verdict


def row(sample: str = "A1", spots: int | None = 1234) -> SampleRow:
    return SampleRow(
        sample,
        None,
        "her2st",
        Path("a.jpg"),
        Path("a.tsv"),
        platform="st",
        platform_reason="it looks so",
        spots=spots,
        mpp=0.6859,
        mpp_source="A1_he_imagealignment.csv and pixel_size of experiment.xenium",
        on_tissue=0.996,
        orientation="swapped_axes",
    )


def test_columns_stand_under_their_headings() -> None:
    heading, first, second = table_text([row(), row("a-long-name", 7)]).splitlines()
    for name, cell in (("patient", "–"), ("format", "her2st"), ("orientation", "swapped axes")):
        assert first[heading.index(name) :].startswith(cell)
        assert second[heading.index(name) :].startswith(cell)
    end = heading.index("spots") + len("spots")
    assert first[:end].endswith("1,234")
    assert second[:end].endswith("    7")
    assert "100%" in first and "0.6859" in first


def test_a_long_source_is_cut() -> None:
    assert "A1_he_imagealignment…" in table_text([row()])


def test_guesses_are_counted() -> None:
    assert platforms_text([row(), row("B1")]) == "st: it looks so (2 samples)"
    assert platforms_text([]) == ""


def verdict(level: str, sample: str, fix: str = "Do it.", message: str = "") -> Verdict:
    said = message or f"{sample}: it is wrong."
    return Verdict("fail" if level == "fail" else "warn", "a_code", (sample,), said, fix)


def test_failures_come_first_and_a_fix_that_several_share_comes_once() -> None:
    text = verdicts_text(
        [
            verdict("warn", "A"),
            verdict("fail", "B"),
            verdict("warn", "C"),
            verdict("warn", "D", "!"),
        ]
    )
    assert text.splitlines() == [
        "FAIL  B: it is wrong. [a_code]",
        "      -> Do it.",
        "WARN  A: it is wrong. [a_code]",
        "WARN  C: it is wrong. [a_code]",
        "      -> Do it.",
        "WARN  D: it is wrong. [a_code]",
        "      -> !",
    ]


def test_lines_are_folded_but_paths_are_not() -> None:
    path = "/" + "x" * 150
    text = verdicts_text([verdict("fail", "A", message=f"A: {'word ' * 40}{path} is wrong.")])
    assert path in text
    assert all(len(line) <= 100 or path in line for line in text.splitlines())


def test_symmetries_are_said_in_words() -> None:
    assert in_words("identity") == "as given"
    assert in_words("rotated_90") == "rotated 90"
    assert in_words(None) is None
