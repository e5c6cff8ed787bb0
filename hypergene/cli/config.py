"""``--config file.toml``: options from a file, below flags and environment variables."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import typer

from hypergene.errors import UsageError


def read_config(context: typer.Context, path: Path | None) -> Path | None:
    """Make a TOML file's options the defaults of the command being run.

    Keys are the long names of options, with ``-`` or ``_``. Those at the top of the file serve
    every command that knows them; those in a table named after a command (``[tile]``,
    ``[data.check]``) serve that command and go before the ones at the top.

    Raises
    ------
    UsageError
        If the file cannot be read, is no TOML, or names an option that does not exist.
    """
    if path is None or context.resilient_parsing:
        return path
    content = _load(path)
    commands = _options_by_command(context)
    top = {key: value for key, value in content.items() if not isinstance(value, dict)}
    tables = _tables(content, commands)
    for name, table in tables.items():
        if name not in commands:
            raise _unknown(path, f"the table [{name}]", "commands", commands)
        for key in table:
            if _plain(key) not in commands[name]:
                raise _unknown(path, f"{key!r} in [{name}]", "options", commands[name])
    anywhere = set().union(*commands.values())
    for key in top:
        if _plain(key) not in anywhere:
            raise _unknown(path, repr(key), "options", anywhere)

    here = _name(context)
    multiple = {param.name for param in context.command.params if getattr(param, "multiple", False)}
    chosen = {_plain(key): value for key, value in {**top, **tables.get(here, {})}.items()}
    context.default_map = {
        commands[here][key]: _value(value, commands[here][key] in multiple)
        for key, value in chosen.items()
        if key in commands[here]
    }
    return path


def _load(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"There is no configuration file {path}.") from None
    except OSError as error:
        raise UsageError(
            f"The configuration file {path} cannot be read ({error.strerror})."
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(
            f"The configuration file {path} is not valid TOML: {error}.",
            hint="Write it as key = value lines, text in quotes.",
        ) from None


def _tables(content: Mapping[str, Any], commands: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the file's tables by the commands they name; ``[data.check]`` is ``data.check``."""
    groups = {name.split(".")[0] for name in commands if "." in name}
    tables: dict[str, dict[str, Any]] = {}
    for name, table in content.items():
        if not isinstance(table, dict):
            continue
        inner = {key: value for key, value in table.items() if isinstance(value, dict)}
        if name in groups and inner == table:
            tables |= {f"{name}.{key}": value for key, value in inner.items()}
        else:
            tables[name] = table
    return tables


def _name(context: typer.Context) -> str:
    """Return what a command is called below ``hypergene``, with dots between its words."""
    words = []
    here: Any = context
    while here.parent is not None:
        words.append(here.info_name or "")
        here = here.parent
    return ".".join(reversed(words))


def _options_by_command(context: typer.Context) -> dict[str, dict[str, str]]:
    """Return, for every command, its options' long names and the parameters they fill."""
    return {
        name: {
            _plain(flag.lstrip("-")): param.name
            for param in command.params
            for flag in param.opts
            if flag.startswith("--") and param.name not in ("config", "help")
        }
        for name, command in _commands(context.find_root().command)
    }


def _commands(group: Any, within: str = "") -> Iterator[tuple[str, Any]]:
    for name, command in getattr(group, "commands", {}).items():
        if hasattr(command, "commands"):
            yield from _commands(command, f"{within}{name}.")
        else:
            yield f"{within}{name}", command


def _plain(key: str) -> str:
    return key.replace("-", "_")


def _value(value: Any, multiple: bool) -> Any:
    """Return a list as one text for options that are given once, such as --genes A,B."""
    if isinstance(value, list) and not multiple:
        return ",".join(map(str, value))
    return [value] if multiple and not isinstance(value, list) else value


def _unknown(path: Path, what: str, kind: str, known: Any) -> UsageError:
    names = ", ".join(sorted(name.replace("_", "-") for name in known))
    return UsageError(
        f"The configuration file {path} has {what}, which hypergene does not know.",
        hint=f"Known {kind}: {names}.",
    )
