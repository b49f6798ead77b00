"""The content store in memory keeps the contract."""

import pytest
from corten.testing.content import MemoryContent, checks

CHECKS = checks(labels=True)


@pytest.mark.parametrize("name", sorted(CHECKS))
def test_memory_store_keeps_the_contract(name: str) -> None:
    CHECKS[name](MemoryContent())
