"""What a registry asks for when it answers 401: the header WWW-Authenticate (RFC 9110, section 11)."""

import re
from collections.abc import Mapping
from dataclasses import field

from corten.values import dataclass

_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PARAMETER = re.compile(rf'\s*({_WORD})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|({_WORD}))\s*(?:,|$)')
_SCHEME = re.compile(rf"[\s,]*({_WORD})(?:\s+|\s*,|$)(?!=)")
_QUOTED_PAIR = re.compile(r"\\(.)")
_MAX_HEADER = 16384


@dataclass(frozen=True, slots=True)
class Challenge:
    """A scheme in lower case (`bearer`, `basic`) and its parameters, names in lower case."""

    scheme: str
    parameters: Mapping[str, str] = field(default_factory=dict)


def parse(header: str) -> list[Challenge]:
    """The challenges in their order; what cannot be read ends the list."""
    challenges = []
    at = 0
    header = header[:_MAX_HEADER]
    while at < len(header) and (scheme := _SCHEME.match(header, at)):
        at = scheme.end()
        parameters = {}
        while found := _PARAMETER.match(header, at):
            name, quoted, token = found.groups()
            parameters[name.lower()] = token if quoted is None else _QUOTED_PAIR.sub(r"\1", quoted)
            at = found.end()
        challenges.append(Challenge(scheme[1].lower(), parameters))
    return challenges
