"""The filter language of containerd's list calls, compiled to a predicate.

    filters   any of the filters must match; no filters, or an empty one, match everything
    filter    selector { "," selector }             all selectors must match
    selector  fieldpath [ ("==" | "!=" | "~=") value ]
    fieldpath field { "." field }                   labels."a key".x: ("labels", "a key", "x")
    field     quoted | letters, digits and "_"
    value     quoted | anything but "," and spaces; after "~=" also /regular expression/ or |regular expression|
    quoted    "text" with the escapes of Go strings

Without operator the field must be there. `==` needs the field to be there, while an absent field is the empty text to
`!=` and `~=`. A regular expression matches anywhere in the value; RE2 runs it in linear time.

The lexer's corners (spaces before a token are skipped, a value may contain operators, a value that starts with "." must
be quoted) are containerd's. A regular expression that does not compile is an error here, while it silently matches
nothing there.
"""

from collections.abc import Callable, Sequence
from functools import partial

import re2

from corten.errors import InvalidArgument
from corten.filter_syntax import MAX_LENGTH, parse

Lookup = Callable[[Sequence[str]], str | None]
"""The value of a field by its path, or None when the object does not have it."""
Filter = Callable[[Lookup], bool]

MAX_FILTERS = 1024
"""Filters in one call."""
MAX_REGEX_MEMORY = 4 << 20
"""Bytes that a compiled regular expression may take."""

_SHOWN = 80


def compile(filters: Sequence[str], *, max_length: int = MAX_LENGTH) -> Filter:
    """A predicate that tells whether one of the filters matches. Raises InvalidArgument."""
    if len(filters) > MAX_FILTERS:
        raise InvalidArgument(f"{len(filters)} filters are more than the {MAX_FILTERS} allowed in one call")
    compiled = [_compile_one(text, max_length) for text in filters]
    if not compiled or any(not selectors for selectors in compiled):
        return _always
    return partial(_any, tuple(compiled))


def _compile_one(text: str, max_length: int) -> tuple[Filter, ...]:
    if len(text) > max_length:
        raise InvalidArgument(
            f"filter {text[:_SHOWN]!r}…: {len(text)} characters are more than the {max_length} allowed"
        )
    return tuple(_selector(text, *parts) for parts in parse(text))


def _selector(text: str, path: tuple[str, ...], operator: str, value: str) -> Filter:
    match operator:
        case "==":
            return lambda lookup: lookup(path) == value
        case "!=":
            return lambda lookup: (lookup(path) or "") != value
        case "~=":
            search = _regex(text, value)
            return lambda lookup: search(lookup(path) or "") is not None
    return lambda lookup: lookup(path) is not None


def _regex(text: str, pattern: str) -> Callable[[str], object | None]:
    options = re2.Options()
    options.log_errors = False
    options.max_mem = MAX_REGEX_MEMORY
    try:
        compiled = re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0].decode(errors="replace") if isinstance(error.args[0], bytes) else error
        raise InvalidArgument(
            f"filter {text[:_SHOWN]!r}: bad regular expression {pattern[:_SHOWN]!r}: {reason}"
        ) from error
    search: Callable[[str], object | None] = compiled.search
    return search


def _any(alternatives: tuple[tuple[Filter, ...], ...], lookup: Lookup) -> bool:
    return any(all(selector(lookup) for selector in selectors) for selectors in alternatives)


def _always(lookup: Lookup) -> bool:
    return True
