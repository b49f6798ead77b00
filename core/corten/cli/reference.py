"""The reference of the command as Markdown, made from the commands themselves: `python -m corten.cli.reference`."""

from collections.abc import Iterator

import click

from . import exits
from .main import corten


def markdown() -> str:
    """A page with a heading for every subcommand, its usage, what it does and its options, and the exit codes."""
    root = click.Context(corten, info_name="corten", **corten.context_settings)
    return "\n".join(["# The command corten", "", *_sections(root), *_exit_codes()])


def _sections(context: click.Context) -> Iterator[str]:
    yield from _section(context)
    if isinstance(context.command, click.Group):
        for name in context.command.list_commands(context):
            command = context.command.get_command(context, name)
            if command is not None:
                yield from _sections(click.Context(command, info_name=name, parent=context, **command.context_settings))


def _section(context: click.Context) -> Iterator[str]:
    usage = " ".join(context.command.collect_usage_pieces(context))
    yield from (f"## {context.command_path}", "", f"`{context.command_path} {usage}`", "")
    yield from (_paragraphs(context.command.help or ""), "")
    options = [each for each in context.command.get_params(context) if isinstance(each, click.Option)]
    records = [option.get_help_record(context) for option in options]
    rows = [f"- `{record[0]}`: {' '.join(record[1].split()) or '-'}" for record in records if record is not None]
    yield from (*rows, "")


def _paragraphs(text: str) -> str:
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


def _exit_codes() -> list[str]:
    rows = [f"| {code} | {meaning} |" for code, meaning in sorted(exits.MEANINGS.items())]
    head = [
        "## Exit codes",
        "",
        "`run`, `exec`, `attach`, `start --attach` and `wait` of one container exit as the process did.",
        "",
    ]
    return [*head, "| code | meaning |", "|---|---|", *rows, ""]


if __name__ == "__main__":
    click.echo(markdown(), nl=False)
