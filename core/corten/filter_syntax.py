"""The grammar of filters: text in, selectors `(path, operator, value)` out, and nothing raised but InvalidArgument.

`corten.filters` describes the language. The lexer is one regular expression for each kind of token; all are anchored
at the position and none can backtrack beyond it, so that parsing is linear.
"""

import re
from dataclasses import dataclass

from corten.errors import InvalidArgument

MAX_LENGTH = 65536
"""Characters of one filter; a name of the largest size (32 KiB) fits, quoted."""

Selector = tuple[tuple[str, ...], str, str]
"""Field path, operator (empty: the field must be there) and value."""

# White_Space of Unicode, as Go's unicode.IsSpace; Python's \s has the four information separators as well.
_SPACE = "\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_SPACES = re.compile(f"[{_SPACE}]*")
_FIELD = re.compile(r"[A-Za-z0-9_]+")
_OPERATOR = re.compile(r"[=!~]+")
_BARE_VALUE = re.compile(f'[^{_SPACE},.=!~/|"][^{_SPACE},]*')
_ESCAPE = re.compile(
    r"\\(?:(?P<named>[abfnrtv\\\"/|])|(?P<octal>[0-7]{3})"
    r"|x(?P<byte>[0-9a-fA-F]{2})|u(?P<short>[0-9a-fA-F]{4})|U(?P<long>[0-9a-fA-F]{8}))"
)
_NAMED = {"a": 7, "b": 8, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11, "\\": 92}
_OPERATORS = ("==", "!=", "~=")
_SHOWN = 40


@dataclass(slots=True)
class _Cursor:
    text: str
    at: int = 0

    def take(self, token: re.Pattern[str]) -> str | None:
        """The token, when it comes next after spaces."""
        start = self._skip_spaces()
        found = token.match(self.text, start)
        if found is None:
            return None
        self.at = found.end()
        return found.group()

    def quoted(self, marks: str) -> str | None:
        """A text in one of `marks`, without them and its escapes; None if no quotation mark comes next."""
        start = self._skip_spaces()
        if start == len(self.text) or self.text[start] not in marks:
            return None
        self.at = start
        result, self.at = _unquote(self)
        return result

    def error(self, problem: str) -> InvalidArgument:
        before, after = self.text[: self.at][-_SHOWN:], self.text[self.at :][:_SHOWN]
        return InvalidArgument(f"filter: {problem} after {before!r}, before {after!r}")

    def _skip_spaces(self) -> int:
        found = _SPACES.match(self.text, self.at)
        return found.end() if found else self.at


def parse(text: str) -> tuple[Selector, ...]:
    """The selectors, all of which must match; none for the empty text. Raises InvalidArgument."""
    _check_characters(text)
    if not text:
        return ()
    cursor = _Cursor(text)
    selectors = [_selector(cursor)]
    # As in containerd, no space may come before a comma: it would belong to the value.
    while cursor.at < len(text):
        if text[cursor.at] != ",":
            raise cursor.error("expected a comma")
        cursor.at += 1
        selectors.append(_selector(cursor))
    return tuple(selectors)


def _check_characters(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidArgument(f"filter {text[:_SHOWN]!r}: it is not valid UTF-8") from error
    if "\0" in text or "\ufffd" in text:
        raise InvalidArgument(f"filter {text[:_SHOWN]!r}: it contains a NUL or a replacement character")


def _selector(cursor: _Cursor) -> Selector:
    path = _path(cursor)
    if cursor.at == len(cursor.text) or cursor.text[cursor.at] == ",":
        return path, "", ""
    operator = cursor.take(_OPERATOR)
    if operator not in _OPERATORS:
        raise cursor.error(f"expected one of the operators {' '.join(_OPERATORS)}")
    return path, operator, _value(cursor, operator)


def _path(cursor: _Cursor) -> tuple[str, ...]:
    path = [_field(cursor)]
    while cursor.text.startswith(".", cursor.at):
        cursor.at += 1
        path.append(_field(cursor))
    return tuple(path)


def _field(cursor: _Cursor) -> str:
    field = cursor.quoted('"')
    if field is None:
        field = cursor.take(_FIELD)
    if field is None:
        raise cursor.error('expected a field or a "quoted" one')
    return field


def _value(cursor: _Cursor, operator: str) -> str:
    value = cursor.quoted('"/|' if operator == "~=" else '"')
    if value is None:
        value = cursor.take(_BARE_VALUE)
    if value is None:
        raise cursor.error('expected a value; one that is empty or starts with any of . = ! ~ / | must be "quoted"')
    return value


def _unquote(cursor: _Cursor) -> tuple[str, int]:
    """What the quoted text at the cursor stands for, and where it ends. Escapes may spell out single bytes."""
    text, at = cursor.text, cursor.at + 1
    mark = text[cursor.at]
    plain = re.compile(rf"[^\\\n{re.escape(mark)}]+")
    result = bytearray()
    while not text.startswith(mark, at):
        if found := plain.match(text, at):
            result += found.group().encode()
        elif (found := _ESCAPE.match(text, at)) and found["named"] in (None, mark, *_NAMED):
            result += _escaped(cursor, found)
        else:
            raise cursor.error("expected the end of the quotation (or it has an escape that Go strings lack)")
        at = found.end()
    try:
        return result.decode(), at + 1
    except UnicodeDecodeError as error:
        raise cursor.error("the escapes of the quoted text do not make valid UTF-8") from error


def _escaped(cursor: _Cursor, found: re.Match[str]) -> bytes:
    if named := found["named"]:
        return bytes([_NAMED.get(named, ord(named))])
    if octal := found["octal"]:
        return _byte(cursor, int(octal, 8))
    if byte := found["byte"]:
        return _byte(cursor, int(byte, 16))
    point = int(found["short"] or found["long"], 16)
    if point > 0x10FFFF or 0xD800 <= point < 0xE000:
        raise cursor.error(f"U+{point:X} is not a character")
    return chr(point).encode()


def _byte(cursor: _Cursor, value: int) -> bytes:
    if value > 255:
        raise cursor.error("an octal escape is above \\377")
    return bytes([value])
