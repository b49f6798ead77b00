"""One node for all tests of CRI in a worker; each test has a client that removes its pods."""

from collections.abc import AsyncIterator, Iterator

import pytest
from cri.cri_world import Cri, CriNode, cri_node


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CriNode]:
    with cri_node(tmp_path_factory.mktemp("cri")) as made:
        yield made


@pytest.fixture
async def cri(node: CriNode) -> AsyncIterator[Cri]:
    async with node.client() as client:
        await client.pull()
        yield client
