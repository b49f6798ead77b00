"""The limits of labels, and which of them are containerd's own."""

from collections.abc import Mapping

from corten.errors import InvalidArgument

MAX_SIZE = 4096
"""Bytes of UTF-8 that a label's key and value may have together."""

_SHOWN = 64


def validate_one(key: str, value: str) -> None:
    """Raises InvalidArgument if key and value together are larger than `MAX_SIZE` bytes, or are not valid text.

    A value without a key is refused too; a key without a value stands for a label that is not there.
    """
    if value and not key:
        raise InvalidArgument(f"label ''={value[:_SHOWN]!r}: its key is empty (give it one)")
    try:
        size = len(key.encode()) + len(value.encode())
    except UnicodeEncodeError as error:
        raise InvalidArgument(f"label {key[:_SHOWN]!r}: key or value is not valid UTF-8") from error
    if size > MAX_SIZE:
        raise InvalidArgument(
            f"label {key[:_SHOWN]!r}: key and value have {size} bytes, more than the {MAX_SIZE} allowed"
        )


def validate(labels: Mapping[str, str]) -> None:
    """`validate_one` for each."""
    for key, value in labels.items():
        validate_one(key, value)


def is_reserved(key: str) -> bool:
    """Whether containerd or its CRI plugin gives the label a meaning; such labels are never taken from an image."""
    return key.startswith(("containerd.io/", "io.cri-containerd"))


def kept(labels: Mapping[str, str]) -> dict[str, str]:
    """The labels that are stored: an empty value means that the label is not there, as in containerd."""
    return {key: value for key, value in labels.items() if value}
