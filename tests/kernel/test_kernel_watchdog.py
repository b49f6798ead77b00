"""The watchdog names the plugin whose code blocks the event loop."""

import asyncio
import logging
import sys
import time
from types import ModuleType

import pytest
from corten.plugin.model import Registration
from corten.plugin.record import PluginRecord
from corten.plugin.types import PluginType
from corten.plugin.watchdog import Watchdog

SOURCE = "import time\ndef init(context): ...\ndef blocks(seconds):\n    time.sleep(seconds)\n"


async def test_a_blocked_loop_is_reported_with_plugin_and_place(caplog: pytest.LogCaptureFixture) -> None:
    module = ModuleType("corten_tape_for_test")
    exec(compile(SOURCE, "tape.py", "exec"), module.__dict__)  # noqa: S102
    tape = Registration(PluginType("test.tape.v1"), "tape", module.init)
    watchdog = Watchdog({tape.uri: PluginRecord(tape)}, limit=0.1)
    try:
        with caplog.at_level(logging.WARNING):
            await asyncio.sleep(0.15)
            assert caplog.text == ""
            module.blocks(0.6)
            await asyncio.sleep(0.15)
    finally:
        watchdog.close()
    assert "by plugin test.tape.v1.tape in blocks (tape.py:4)" in caplog.text
    assert "moves again" in caplog.text


async def test_the_daemons_own_code_is_not_blamed_on_a_plugin(caplog: pytest.LogCaptureFixture) -> None:
    watchdog = Watchdog({}, limit=0.1)
    try:
        with caplog.at_level(logging.WARNING):
            await asyncio.sleep(0.15)
            time.sleep(0.5)  # noqa: ASYNC251
            await asyncio.sleep(0.1)
    finally:
        watchdog.close()
    assert "by the daemon" in caplog.text
    assert sys.modules[__name__].__name__ in caplog.text or __file__ in caplog.text
