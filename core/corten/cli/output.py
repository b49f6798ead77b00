"""Results: aligned tables for people, JSON for programs."""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])
Row = Mapping[str, Any]


def format_option(command: F) -> F:
    """Adds `--format table|json` as the argument `format`."""
    return click.option(
        "--format",
        type=click.Choice(["table", "json"]),
        default="table",
        show_default=True,
        help="A table for people, or JSON for programs.",
    )(command)


def show(columns: Sequence[str], rows: Sequence[Sequence[Any]], records: Sequence[Row], format: str) -> None:
    """`rows` as a table under `columns`, or `records`, the full values, as a JSON list."""
    if format == "json":
        show_json(records)
    elif sys.stdout.isatty():
        _rich(columns, rows)
    else:
        for line in aligned([columns, *rows]):
            click.echo(line)


def show_json(value: object) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def show_fields(fields: Mapping[str, Any], record: object, format: str) -> None:
    """One object: a field a line, or as JSON."""
    if format == "json":
        return show_json(record)
    for line in aligned([[f"{name}:", value] for name, value in fields.items()]):
        click.echo(line)
    return None


def aligned(rows: Sequence[Sequence[Any]]) -> list[str]:
    """Columns padded to their widest cell, two spaces apart; control characters made visible."""
    cells = [[printable(str(cell)) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def printable(text: str) -> str:
    """Names come from images and other clients: what would steer the terminal is shown escaped."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def _rich(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for name in columns:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(str(cell))) for cell in row))
    Console(highlight=False).print(table)
