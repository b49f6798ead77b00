"""Waiting for descriptors of any number."""

import os
import resource
from collections.abc import Iterator

import pytest
from corten.descriptors import readable


@pytest.fixture
def pipe_beyond_1024() -> Iterator[tuple[int, int]]:
    """A pipe whose reading end has a number that select(2) refuses."""
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] <= 2000:
        pytest.skip("the limit of open files is too low for a descriptor of such a number")
    read, write = os.pipe()
    high = os.dup2(read, 1999)
    yield high, write
    for fd in (read, write, high):
        os.close(fd)


def test_a_descriptor_of_a_high_number(pipe_beyond_1024: tuple[int, int]) -> None:
    read, write = pipe_beyond_1024
    assert not readable(read, 0.01)
    os.write(write, b"x")
    assert readable(read, 1)
