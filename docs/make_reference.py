"""Write docs/reference/cli.md and docs/reference/python.md from the program: ``python docs/make_reference.py``; a test fails when they are stale."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import typer.main

import geofuse
from geofuse.cli import app

FOLDER = Path(__file__).parent / "reference"
NOTE = "Written by `python docs/make_reference.py`; do not edit."
FRONT = {
    "cli": "Exit status: 0 done; 1 failed while running; 2 rejected input, with nothing computed and nothing written; 130 interrupted. An error is one "
    "message on standard error: what was found, what was expected, what to do. `geofuse --install-completion` lets the shell (bash, zsh, fish, PowerShell) "
    "complete commands and options; `geofuse --show-completion` prints what it would add.",
    "python": "Everything that the accessors do is also a plain function. Parameters, shapes, units, errors and examples stand in the docstrings: "
    "`help(geofuse.fuse)`. `import geofuse` registers the accessors `.mossfuse` and `.hsi`.",
}
MODEL = ("load", "save")  # what users call of it; the rest is for the tiles


def commands() -> dict[str, Any]:
    """Every command of the command line by name, as click describes it; those of a group by both names."""
    found: dict[str, Any] = {}
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        inner = getattr(command, "commands", None)
        found |= {name: command} if inner is None else {f"{name} {key}": inner[key] for key in inner}
    return found


def spellings(parameter: Any) -> list[str]:
    """How an option may be written, negations included; empty for an argument."""
    return [name for name in (*parameter.opts, *parameter.secondary_opts) if name.startswith("-")]


def pages() -> dict[Path, str]:
    """Text of every generated page."""
    return {FOLDER / f"{name}.md": "\n\n".join(parts) + "\n" for name, parts in (("cli", _cli()), ("python", _python()))}


def _cli() -> Iterator[str]:
    yield f"# Command line\n\n{NOTE}\n\n{FRONT['cli']}"
    for name, command in commands().items():
        shown = [p for p in command.params if p.name != "help" and not getattr(p, "hidden", False)]
        arguments = [p for p in shown if not spellings(p)]
        usage = " ".join(["geofuse", name, *(p.name.upper() for p in arguments), "[OPTIONS]"])
        yield f"## geofuse {name}\n\n{_line(command.help)}\n\n```sh\n{usage}\n```"
        if arguments:
            yield _table(("argument", "what"), ([f"`{p.name.upper()}`", _line(p.help)] for p in arguments))
        yield _table(("option", "default", "what"), ([_names(p), _default(p), _line(p.help)] for p in shown if spellings(p)))


def _names(option: Any) -> str:
    return ", ".join(f"`{name}`" for name in spellings(option))


def _default(option: Any) -> str:
    if option.required:
        return "required"
    value = option.default
    if isinstance(value, bool):
        return f"`{spellings(option)[0]}`" if value else ""
    return "" if value is None else f"`{value}`"


def _python() -> Iterator[str]:
    yield f"# Python\n\n{NOTE}\n\n{FRONT['python']}"
    public = {name: getattr(geofuse, name) for name in sorted(geofuse.__all__)}
    functions = {name: found for name, found in public.items() if inspect.isfunction(found)}
    errors = {name: found for name, found in public.items() if inspect.isclass(found) and issubclass(found, Exception)}
    yield "## Functions\n\n" + _members("geofuse.", functions)
    for title, prefix, accessor in (("hsi.mossfuse", "…mossfuse.", "MossFuseAccessor"), ("cube.hsi", "…hsi.", "HsiAccessor")):
        yield f"## Accessor {title}\n\n" + _members(prefix, _methods(public[accessor]))
    for name in ("Model", "Plan", "Report", "Diagnosis", "View"):
        methods = {key: found for key, found in _methods(public[name]).items() if name != "Model" or key in MODEL}
        yield f"## {name}\n\n{_line(inspect.getdoc(public[name]))}\n\n" + _members(f"{name}.", methods)
    yield "## Errors\n\n" + _table(("error", "what"), ([f"`{name}`", _line(inspect.getdoc(found))] for name, found in errors.items()))


def _methods(owner: type) -> dict[str, Any]:
    return {name: found for name, found in inspect.getmembers(owner, callable) if not name.startswith("_")}


def _members(prefix: str, members: dict[str, Any]) -> str:
    return _table(
        ("call", "what"), ([f"`{prefix}{name}({_parameters(found)})`", _line(inspect.getdoc(found))] for name, found in members.items())
    )


def _parameters(function: Any) -> str:
    """Names and defaults, without types."""
    given = [p.replace(annotation=p.empty) for p in inspect.signature(function).parameters.values() if p.name not in ("self", "cls")]
    return str(inspect.Signature(given))[1:-1]


def _line(text: str | None) -> str:
    """The first paragraph on one line, fit for a cell of a table."""
    return " ".join((text or "").split("\n\n")[0].split()).replace("``", "`").replace("|", "\\|")


def _table(header: Iterable[str], rows: Iterable[list[str]]) -> str:
    lines = [list(header), *rows]
    text = ["| " + " | ".join(line) + " |" for line in lines]
    return "\n".join([text[0], "|" + "---|" * len(lines[0]), *text[1:]])


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
