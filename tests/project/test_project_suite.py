"""The suite itself: what it relies on in its tools."""

import pytest


@pytest.mark.xdist_group("grouped")
def test_groups_of_tests_stay_together(request: pytest.FixtureRequest) -> None:
    """Tests that share names on the host are in one group, which pytest-xdist knows by the end of their node ids."""
    if not getattr(request.config.option, "loadgroup", False):  # xdist sets it in its workers
        pytest.skip("not run with --dist loadgroup")
    assert request.node.nodeid.endswith("@grouped")
