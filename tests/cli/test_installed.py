"""The script itself, as a process of its own."""

from __future__ import annotations

import json
from pathlib import Path

from hypergene import __version__


def test_the_script_answers(run_cli) -> None:  # type: ignore[no-untyped-def]
    done = run_cli("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"hypergene {__version__}\n", "")


def test_help_imports_nothing_heavy(tmp_path: Path, run_cli) -> None:  # type: ignore[no-untyped-def]
    # A module of that name that fails to import stands before the real one.
    for heavy in ("torch", "anndata", "numpy", "zarr", "rich"):
        (tmp_path / f"{heavy}.py").write_text(f"raise SystemExit('{heavy} was imported')")
    done = run_cli("predict", "--help", env={"PYTHONPATH": str(tmp_path)})
    assert "was imported" not in done.stderr
    assert done.returncode == 0


def test_tile_writes_what_it_says(tmp_path: Path, painted_slide: Path, run_cli) -> None:  # type: ignore[no-untyped-def]
    done = run_cli("tile", painted_slide, "-o", tmp_path, "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["error"] is None
    assert result["spots"] > 20
    assert Path(result["output"]).is_dir()
    assert {path.name for path in tmp_path.iterdir()} == {
        "painted.spots.zarr",
        "painted.spots.png",
    }


def test_one_bad_slide_does_not_stop_the_others(
    tmp_path: Path,
    painted_slide: Path,
    run_cli,  # type: ignore[no-untyped-def]
) -> None:
    bad = tmp_path / "notes.svs"
    bad.write_text("not a slide")
    out = tmp_path / "out"
    done = run_cli("tile", tmp_path / "missing.svs", bad, painted_slide, "-o", out)
    assert done.returncode == 3, done.stderr
    assert done.stdout == f"{out / 'painted.spots.zarr'}\n"
    assert "missing.svs" in done.stderr
    assert "notes.svs" in done.stderr
    assert "Traceback" not in done.stderr


def test_output_has_no_colour_where_it_is_not_wanted(tmp_path: Path, run_cli) -> None:  # type: ignore[no-untyped-def]
    done = run_cli("tile", tmp_path / "missing.svs", env={"NO_COLOR": "1"})
    assert done.returncode == 1
    assert "\033" not in done.stderr


def test_a_prediction_without_a_slide_leaves_nothing_behind(tmp_path: Path, run_cli) -> None:  # type: ignore[no-untyped-def]
    done = run_cli("predict", tmp_path / "missing.svs", "-o", tmp_path / "out")
    assert done.returncode == 1
    assert "missing.svs" in done.stderr
    assert not (tmp_path / "out").exists()
