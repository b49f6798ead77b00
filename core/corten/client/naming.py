"""Whose failure it is: what a runtime says of one does not name the container."""

from collections.abc import Iterator
from contextlib import contextmanager

from corten.errors import CortenError, Unavailable


@contextmanager
def of_container(id: str) -> Iterator[None]:
    """Errors from inside name the container first, unless they do so already or tell of the daemon's absence."""
    try:
        yield
    except Unavailable:
        raise
    except CortenError as error:
        if f"'{id}'" in error.message or f'"{id}"' in error.message:
            raise
        raise type(error)(f"container {id!r}: {error.message}") from error
