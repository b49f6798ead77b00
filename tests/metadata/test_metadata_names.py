"""Names of any length: what keys they become, and that lists are in bytewise order whatever their length."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from corten.errors import InvalidArgument
from corten_metadata import names, schema
from corten_metadata.codec import Decoder, Encoder
from corten_metadata.names import INLINE, MAX_NAME, Row
from corten_metadata.records import decode_labels, encode_labels
from corten_metadata.rows import PAGE, Rows
from corten_metadata.store import Store
from counts import count
from hypothesis import given, settings
from hypothesis import strategies as st


class Entries:
    """A sorted store in memory."""

    def __init__(self, head: bytes, rows: dict[bytes, bytes]) -> None:
        self.keys = {head + names.tail(name): names.wrap(name, value) for name, value in rows.items()}

    def entries(self, start: bytes, head: bytes) -> Iterator[Row]:
        for key in sorted(self.keys):
            if key >= start and key.startswith(head):
                yield key, self.keys[key]


PREFIXES = [b"a" * INLINE, b"a" * (INLINE - 1) + b"b", b"\xff" * INLINE]
SHORT = st.binary(min_size=1, max_size=4)
LONG = st.builds(lambda prefix, rest: prefix + rest, st.sampled_from(PREFIXES), st.binary(max_size=3))
NEAR = st.builds(lambda prefix, cut: prefix[:cut], st.sampled_from(PREFIXES), st.integers(INLINE - 2, INLINE))


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(SHORT | LONG | NEAR, st.binary(max_size=3), max_size=30), st.integers(1, 5))
def test_pages_hold_every_name_once_and_in_order(rows: dict[bytes, bytes], limit: int) -> None:
    head = b"\x02ns\x00i"
    view = Entries(head, rows)
    found: list[Row] = []
    while page := names.page(view, head, found[-1][0] if found else None, limit):
        assert len(page) <= limit
        found += page
    assert found == sorted(rows.items())
    assert dict(names.every(view, head)) == rows


def test_the_longest_key_fits_lmdb() -> None:
    head = schema.leased("n" * 76, 2**63) + b"s" + schema.part("s" * 76, "snapshotter")
    assert len(head + names.tail(b"x" * MAX_NAME)) <= 511


@pytest.mark.parametrize("length", [1, INLINE, INLINE + 1, 512, 4096, 32768])
def test_name_of_any_length_is_stored_whole(length: int, tmp_path: Path) -> None:
    store = Store(tmp_path)
    rows = Rows("thing", b"\x05", encode_labels, decode_labels)
    name = "n" * (length - 1) + "x"
    other = "n" * (length - 1) + "y"
    store.write(lambda txn: rows.put(txn, name, {"a": "b"}))
    store.write(lambda txn: rows.put(txn, other, {"c": "d"}))
    with store.read() as view:
        assert rows.get(view, name) == {"a": "b"}
        assert rows.get(view, other) == {"c": "d"}
    assert [found for found, _ in rows.named(store)] == [name, other]
    assert store.write(lambda txn: rows.delete(txn, name))
    assert [found for found, _ in rows.named(store)] == [other]
    store.close()


def test_walk_of_many_pages(tmp_path: Path) -> None:
    store = Store(tmp_path)
    rows = Rows("thing", b"\x05", encode_labels, decode_labels)
    each = max(PAGE, count("walk entries") // 2)
    wanted = [f"name-{number:05}" for number in range(each)] + ["p" * 300 + f"{number:05}" for number in range(each)]

    def fill(txn: object) -> None:
        for name in reversed(wanted):
            rows.put(txn, name, {"name": name[:9]})  # type: ignore[arg-type]

    store.write(fill)
    walk = rows.named(store)
    assert [next(walk)[0] for _ in range(3)] == wanted[:3]
    store.write(lambda txn: rows.delete(txn, wanted[-1]))
    assert [name for name, _ in walk] == wanted[3:-1]
    store.close()


@pytest.mark.parametrize("name", ["", "x" * (MAX_NAME + 1), "\ud800"])
def test_names_that_cannot_be_are_refused(name: str) -> None:
    with pytest.raises(InvalidArgument):
        names.encoded(name)


@given(st.integers(0, 2**70), st.text(max_size=20), st.dictionaries(st.text(max_size=5), st.text(max_size=300)))
def test_values_come_back_as_they_were(number: int, text: str, mapping: dict[str, str]) -> None:
    data = Encoder().number(number).text(text).mapping(mapping).done()
    decoder = Decoder(data)
    assert (decoder.number(), decoder.text(), decoder.mapping()) == (number, text, mapping)
    assert (decoder.number(), decoder.text(), decoder.mapping()) == (0, "", {}), "fields added later read as empty"
