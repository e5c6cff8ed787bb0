"""The ``hypergene`` command: one module a command, each parses, calls one function and prints.

Nothing heavy is imported here: ``hypergene --help`` must answer at once, so torch and anndata are
imported inside the commands that need them.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer
from typer.main import get_command

from hypergene import __version__
from hypergene.cli.console import log, log_to_stderr, say_error
from hypergene.cli.data import data_app
from hypergene.cli.demo import demo
from hypergene.cli.doctor import doctor
from hypergene.cli.evaluate import evaluate
from hypergene.cli.export import export
from hypergene.cli.finetune import finetune
from hypergene.cli.models import models_app
from hypergene.cli.plot import plot
from hypergene.cli.predict import predict
from hypergene.cli.pretrain import pretrain
from hypergene.cli.report import report
from hypergene.cli.tile import tile
from hypergene.errors import HypergeneError

app = typer.Typer(
    name="hypergene",
    help="Spatial gene expression predicted from H&E slides.",
    epilog="Every option can also be set by an environment variable, e.g. --min-tissue by "
    "HYPERGENE_MIN_TISSUE, or in a TOML file given with --config.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
for command in (predict, tile, finetune, pretrain, evaluate, report, plot, export, demo, doctor):
    app.command()(command)
app.add_typer(data_app)
app.add_typer(models_app)

INTERRUPTED = 130


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"hypergene {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Say the version."),
    ] = False,
) -> None:
    """Take the options that stand before the command."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave with its exit code.

    Parameters
    ----------
    arguments
        What follows ``hypergene``; None = the process's own arguments.

    Raises
    ------
    SystemExit
        Always. 0 done, 1 failed, 2 wrong usage, 3 some of several slides failed, 130 interrupted.
    """
    log_to_stderr()
    try:
        get_command(app)(args=None if arguments is None else list(arguments), prog_name="hypergene")
    except HypergeneError as error:
        log.debug("Where it happened:", exc_info=True)
        say_error(error.message, error.hint)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except Exception as error:
        from hypergene.pipeline.outcome import REPORT_IT, unexpected

        log.debug("Where it happened:", exc_info=True)
        say_error(unexpected(error), REPORT_IT)
        sys.exit(1)
