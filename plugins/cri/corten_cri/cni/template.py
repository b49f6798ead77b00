"""Configuration templates: the part of Go's text/template that CNI configurations are written in.

Fields and variables, `if`, `else`, `range` with index and value, `end`, comments, and the marks that trim space.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from corten.errors import InvalidArgument

_ACTION = re.compile(r"\{\{(-\s)?(.*?)(\s-)?\}\}", re.DOTALL)
_RANGE = re.compile(r"range\s+(?:\$(\w+)\s*(?:,\s*\$(\w+)\s*)?:=\s*)?(\S+)\Z")
_VALUE = re.compile(r"(\$\w*)?((?:\.\w+)*|\.)\Z")


@dataclass(slots=True)
class _Block:
    """A piece of a template: text, a value, or a block with what is in it and in its else."""

    kind: str
    word: str = ""
    names: tuple[str, ...] = ()
    body: "list[_Block]" = field(default_factory=list)
    otherwise: "list[_Block]" = field(default_factory=list)


def render(template: str, values: Mapping[str, Any]) -> str:
    """The template with `.Name` for each of `values`. Raises InvalidArgument for what it cannot do."""
    tokens = list(_tokens(template))
    tree, rest = _parse(tokens, 0)
    if rest < len(tokens):
        raise InvalidArgument("template: {{end}} or {{else}} without a block")
    return "".join(_write(tree, values, {"$": values}))


def _tokens(template: str) -> Iterator[tuple[bool, str]]:
    """Text (False) and actions (True)."""
    position, trimmed = 0, False
    for found in _ACTION.finditer(template):
        text = template[position : found.start()]
        text = text.lstrip() if trimmed else text
        yield False, text.rstrip() if found[1] else text
        yield True, found[2].strip()
        position, trimmed = found.end(), bool(found[3])
    yield False, template[position:].lstrip() if trimmed else template[position:]


def _parse(tokens: Sequence[tuple[bool, str]], place: int) -> tuple[list[_Block], int]:
    """The blocks up to an end or else; and where that is."""
    blocks: list[_Block] = []
    while place < len(tokens):
        is_action, word = tokens[place]
        if not is_action:
            blocks.append(_Block("text", word))
        elif word == "end" or word == "else":
            return blocks, place
        elif word.startswith(("range ", "if ")):
            block, place = _parse_block(tokens, place)
            blocks.append(block)
        elif not word.startswith("/*"):
            blocks.append(_Block("value", word))
        place += 1
    return blocks, place


def _parse_block(tokens: Sequence[tuple[bool, str]], place: int) -> tuple[_Block, int]:
    word = tokens[place][1]
    if word.startswith("if "):
        block = _Block("if", word[3:].strip())
    else:
        found = _RANGE.match(word)
        if not found:
            raise InvalidArgument(f"template: {{{{{word}}}}}: not understood")
        block = _Block("range", found[3], tuple(name for name in found.groups()[:2] if name))
    block.body, place = _parse(tokens, place + 1)
    if place < len(tokens) and tokens[place][1] == "else":
        block.otherwise, place = _parse(tokens, place + 1)
    if place >= len(tokens) or tokens[place][1] != "end":
        raise InvalidArgument(f"template: {{{{{word}}}}} has no {{{{end}}}}")
    return block, place


def _write(blocks: Sequence[_Block], dot: Any, variables: Mapping[str, Any]) -> Iterator[str]:
    for block in blocks:
        if block.kind == "text":
            yield block.word
            continue
        value = _value(block.word, dot, variables)
        if block.kind == "value":
            yield _text(value)
        elif block.kind == "if":
            yield from _write(block.body if value else block.otherwise, dot, variables)
        else:
            yield from _write_range(block, value, dot, variables)


def _write_range(block: _Block, value: Any, dot: Any, variables: Mapping[str, Any]) -> Iterator[str]:
    if not isinstance(value, list | tuple):
        raise InvalidArgument(f"template: range over {block.word}: it is no list")
    for index, item in enumerate(value):
        named = (item,) if len(block.names) == 1 else (index, item)
        own = {f"${name}": each for name, each in zip(block.names, named, strict=False)}
        yield from _write(block.body, item, {**variables, **own})
    if not value:
        yield from _write(block.otherwise, dot, variables)


def _value(word: str, dot: Any, variables: Mapping[str, Any]) -> Any:
    found = _VALUE.match(word)
    if not word or not found:
        raise InvalidArgument(
            f"template: {{{{{word}}}}}: only fields, variables, if, range, else and end are understood"
        )
    if found[1] and found[1] not in variables:
        raise InvalidArgument(f"template: the variable {found[1]} is not defined")
    value = variables[found[1]] if found[1] else dot
    for name in filter(None, found[2].split(".")):
        if not isinstance(value, Mapping) or name not in value:
            raise InvalidArgument(f"template: there is no .{name}")
        value = value[name]
    return value


def _text(value: Any) -> str:
    return f"[{' '.join(map(_text, value))}]" if isinstance(value, list | tuple) else str(value)
