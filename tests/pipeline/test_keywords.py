"""What the command line can do, Python can: every option is a keyword, known to editors."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import pytest
from typer.main import get_command

from hypergene.cli import app
from hypergene.pipeline import keywords
from hypergene.pipeline.cohort import CohortOptions
from hypergene.pipeline.evaluation.options import EvaluateOptions
from hypergene.pipeline.export import ExportOptions
from hypergene.pipeline.finetune import FinetuneOptions
from hypergene.pipeline.plot import PlotOptions
from hypergene.pipeline.predict import PredictOptions
from hypergene.pipeline.pretrain import PretrainOptions
from hypergene.pipeline.tile import TileOptions

OPTIONS: Mapping[type, type] = {
    keywords.PredictKeywords: PredictOptions,
    keywords.TileKeywords: TileOptions,
    keywords.FinetuneKeywords: FinetuneOptions,
    keywords.PretrainKeywords: PretrainOptions,
    keywords.EvaluateKeywords: EvaluateOptions,
    keywords.PlotKeywords: PlotOptions,
    keywords.ExportKeywords: ExportOptions,
}


@pytest.mark.parametrize("names", OPTIONS, ids=lambda names: names.__name__)
def test_every_option_is_a_keyword_that_editors_know(names: type) -> None:
    assert set(names.__annotations__) == {
        field.name for field in dataclasses.fields(OPTIONS[names])
    }


def test_the_options_of_many_slides_are_keywords_too() -> None:
    running = {field.name for field in dataclasses.fields(CohortOptions)}
    assert set(keywords.CohortKeywords.__annotations__) == running | set(
        keywords.PredictKeywords.__annotations__
    )


RENAMED = {
    "diameter": "diameter_um",
    "pitch": "pitch_um",
    "orientation": "orientation_deg",
    "offset": "offset_um",
    "tile_width_um": "width_um",
    "tile_px": "size_px",
}
# What only a terminal needs, or what is a parameter of its own in Python: samples may be given as
# they are, so one sample's files need no options.
OF_THE_TERMINAL = {"json", "config", "debug", "help"}
PARAMETERS = {"slides", "samples", "out", "slide", "data", "data_format", "patient", "truth"}
PARAMETERS |= {"prediction", "what", "to"}
# A figure in Python is saved by matplotlib's savefig.
OF_THE_FILE = {"plot": {"dpi", "overwrite"}}
COMMANDS: Mapping[str, tuple[type, ...]] = {
    "predict": (PredictOptions, CohortOptions),
    "tile": (TileOptions,),
    "finetune": (FinetuneOptions,),
    "pretrain": (PretrainOptions,),
    "evaluate": (EvaluateOptions,),
    "plot": (PlotOptions,),
    "export": (ExportOptions,),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_of_the_command_line_is_one_in_python(name: str) -> None:
    group: Any = get_command(app)
    parameters = {p.name: p for p in group.commands[name].params}
    fields = {f.name: f for options in COMMANDS[name] for f in dataclasses.fields(options)}
    left_out = (OF_THE_TERMINAL | PARAMETERS | OF_THE_FILE.get(name, set())) - set(fields)
    ours = {RENAMED.get(str(key), str(key)): p for key, p in parameters.items()}
    ours = {k: p for k, p in ours.items() if k not in left_out}
    assert set(ours) == set(fields)
    for key, parameter in ours.items():
        default, flag = fields[key].default, parameter.default
        assert flag == default or (not flag and not default), key
