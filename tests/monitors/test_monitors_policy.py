"""What labels ask for, and when: tables, no daemon."""

from itertools import pairwise

import pytest
from corten.contracts.runtime import Status
from corten.errors import InvalidArgument
from corten_monitors import policy
from corten_monitors.backoff import Backoff
from corten_monitors.policy import Action, Policy, decide
from hypothesis import given
from hypothesis import strategies as st

RUNNING = {policy.STATUS: "running"}
STOPPED = {policy.STATUS: "stopped"}
KEY = ("ns", "c")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", Policy("always")),
        ("always", Policy("always")),
        ("no", Policy("no")),
        ("unless-stopped", Policy("unless-stopped")),
        ("on-failure", Policy("on-failure")),
        ("on-failure:3", Policy("on-failure", 3)),
    ],
)
def test_policies(text: str, expected: Policy) -> None:
    assert policy.parse(text) == expected


@pytest.mark.parametrize("text", ["never", "always:3", "on-failure:", "on-failure:x", "on-failure:-1", "no:1"])
def test_policies_that_do_not_exist(text: str) -> None:
    with pytest.raises(InvalidArgument):
        policy.parse(text)


@pytest.mark.parametrize(
    ("labels", "status", "code", "expected"),
    [
        ({}, Status.STOPPED, 1, Action.NOTHING),
        (RUNNING, None, 0, Action.START),
        (RUNNING, Status.STOPPED, 0, Action.START),
        (RUNNING, Status.RUNNING, 0, Action.NOTHING),
        (RUNNING, Status.PAUSED, 0, Action.NOTHING),
        (RUNNING, Status.PAUSING, 0, Action.NOTHING),
        (RUNNING, Status.UNKNOWN, 0, Action.NOTHING),
        (STOPPED, Status.RUNNING, 0, Action.STOP),
        (STOPPED, Status.PAUSED, 0, Action.STOP),
        (STOPPED, Status.STOPPED, 0, Action.NOTHING),
        (STOPPED, None, 0, Action.NOTHING),
        ({**RUNNING, policy.POLICY: "no"}, Status.STOPPED, 1, Action.NOTHING),
        ({**RUNNING, policy.POLICY: "on-failure"}, Status.STOPPED, 0, Action.NOTHING),
        ({**RUNNING, policy.POLICY: "on-failure"}, Status.STOPPED, 1, Action.START),
        ({**RUNNING, policy.POLICY: "on-failure"}, None, 0, Action.NOTHING),
        ({**RUNNING, policy.POLICY: "on-failure:2", policy.COUNT: "1"}, Status.STOPPED, 1, Action.START),
        ({**RUNNING, policy.POLICY: "on-failure:2", policy.COUNT: "2"}, Status.STOPPED, 1, Action.NOTHING),
        ({**RUNNING, policy.POLICY: "unless-stopped"}, Status.STOPPED, 0, Action.START),
        (
            {**RUNNING, policy.POLICY: "unless-stopped", policy.EXPLICITLY_STOPPED: "true"},
            Status.STOPPED,
            0,
            Action.NOTHING,
        ),
        (
            {**RUNNING, policy.POLICY: "unless-stopped", policy.EXPLICITLY_STOPPED: "false"},
            Status.STOPPED,
            0,
            Action.START,
        ),
    ],
)
def test_what_is_done(labels: dict[str, str], status: Status | None, code: int, expected: Action) -> None:
    assert decide(labels, status, code) is expected


def test_labels_that_make_no_sense_are_named() -> None:
    with pytest.raises(InvalidArgument, match="no-such"):
        decide({**RUNNING, policy.POLICY: "no-such"}, Status.STOPPED)
    with pytest.raises(InvalidArgument, match="count"):
        decide({**RUNNING, policy.POLICY: "on-failure:1", policy.COUNT: "x"}, Status.STOPPED, 1)


def test_pauses_double_up_to_a_bound_and_are_forgiven() -> None:
    backoff, now, pauses = Backoff(1.0, 5.0), 100.0, []
    for _ in range(5):
        assert backoff.due(KEY, now)
        backoff.started(KEY, now)
        begun = now
        while not backoff.due(KEY, now, 0.1):
            now += 0.5
        pauses.append(now - begun)
    assert pauses == [1.0, 2.0, 4.0, 5.0, 5.0]
    backoff.started(KEY, now)
    assert not backoff.due(KEY, now + 1)
    assert backoff.due(KEY, now + 1, lasted=60.0)
    backoff.started(KEY, now)
    assert backoff.due(KEY, now + 1.0)


def test_what_is_gone_is_forgotten() -> None:
    backoff = Backoff(1.0, 5.0)
    backoff.started(KEY, 0.0)
    backoff.keep(set())
    assert backoff.due(KEY, 0.0) and backoff.since(KEY) is None


@given(st.lists(st.floats(0, 10), max_size=30))
def test_nothing_is_started_more_often_than_the_first_pause_allows(steps: list[float]) -> None:
    backoff, now, starts = Backoff(1.0, 8.0), 0.0, []
    for step in steps:
        now += step
        if backoff.due(KEY, now, 0.0):
            backoff.started(KEY, now)
            starts.append(now)
    assert all(later - earlier >= 1.0 for earlier, later in pairwise(starts))
