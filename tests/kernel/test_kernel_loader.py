"""Discovery with real packages: each is written to a folder on sys.path, and a fresh interpreter looks for plugins."""

import json
import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

LOOK = """
import json, sys, time
from corten.plugin.loader import discover
began = time.monotonic()
found = [
    {"uri": each.uri, "from": each.distribution, "builtin": each.builtin, "error": each.error and str(each.error),
     "cause": each.error and type(each.error.__cause__).__name__}
    for each in discover(float(sys.argv[1]))
]
print(json.dumps({"found": found, "seconds": time.monotonic() - began}))
sys.stdout.flush()
import os
os._exit(0)
"""
SOUND = """
from corten.plugin.model import Registration, one
from corten.plugin.types import PluginType, SNAPSHOTTER
def plugin():
    return Registration(SNAPSHOTTER, {id!r}, lambda context: object())
"""


def package(folder: Path, name: str, source: str, version: str = "1.0") -> None:
    module = name.replace("-", "_")
    (folder / f"{module}.py").write_text(dedent(source))
    info = folder / f"{module}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "entry_points.txt").write_text(f"[corten.plugins]\nit = {module}:plugin\n")


def look(folder: Path, deadline: float = 5.0) -> tuple[dict[str, dict[str, object]], str, float]:
    """What is found, by URI, what was printed on stderr, and the time it took."""
    home = folder / "home"
    home.mkdir(mode=0o500)
    env = {**os.environ, "PYTHONPATH": str(folder), "HOME": "/proc/1", "XDG_CACHE_HOME": "/proc/1/cache"}
    done = subprocess.run(
        [sys.executable, "-c", LOOK, str(deadline)], env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    return {each["uri"]: each for each in answer["found"]}, done.stderr, answer["seconds"]


@pytest.mark.parametrize(
    ("source", "cause", "words"),
    [
        ("import nowhere_at_all", "ModuleNotFoundError", "nowhere_at_all"),
        ("assert False, 'asserted'", "AssertionError", "asserted"),
        ("raise SystemExit('left')", "SystemExit", "left"),
        ("raise KeyboardInterrupt('stopped')", "KeyboardInterrupt", "stopped"),
        ("class Odd(BaseException): pass\nraise Odd('odd')", "Odd", "odd"),
        ("def plugin(: pass", "SyntaxError", "invalid syntax"),
        ("x = 1", "AttributeError", "plugin"),
        ("def plugin(): raise ValueError('called')", "ValueError", "called"),
        ("def plugin(): return 7", "InvalidArgument", "int"),
        ("def plugin(): return ()", "InvalidArgument", "no registration"),
        ("plugin = None", "TypeError", "NoneType"),
        (SOUND.format(id="not valid!"), "InvalidArgument", "not valid!"),
        (SOUND.format(id="x").replace("lambda context: object()", "'no'"), "InvalidArgument", "init"),
        (
            SOUND.format(id="x").replace("object())", "object(), config=dict)"),
            "InvalidArgument",
            "dataclass",
        ),
    ],
)
def test_a_failure_becomes_a_plugin_with_that_error(tmp_path: Path, source: str, cause: str, words: str) -> None:
    package(tmp_path, "some-package", source)
    found, noise, _ = look(tmp_path)
    broken = found["io.corten.unloaded.some-package.v1.it"]
    assert broken["cause"] == cause
    assert words in str(broken["error"])
    assert "some_package:plugin of some-package 1.0" in str(broken["error"])
    assert broken["from"] == "some-package 1.0"
    assert noise == ""


@pytest.mark.parametrize("where", ["import time\ntime.sleep(60)", "def plugin():\n    import time\n    time.sleep(60)"])
def test_an_import_that_never_returns_is_given_up(tmp_path: Path, where: str) -> None:
    package(tmp_path, "endless", where)
    package(tmp_path, "sound", SOUND.format(id="sound"))
    found, _, seconds = look(tmp_path, deadline=1)
    assert "did not end in 1 seconds" in str(found["io.corten.unloaded.endless.v1.it"]["error"])
    assert "endless.py" in str(found["io.corten.unloaded.endless.v1.it"]["error"])
    assert found["io.containerd.snapshotter.v1.sound"]["error"] is None
    assert seconds < 10


def test_a_sound_package_is_found_with_its_distribution(tmp_path: Path) -> None:
    package(tmp_path, "sound", SOUND.format(id="sound"), "2.1")
    found, noise, _ = look(tmp_path)
    sound = found["io.containerd.snapshotter.v1.sound"]
    assert (sound["from"], sound["builtin"], sound["error"]) == ("sound 2.1", False, None)
    assert noise == ""


def test_a_package_may_bring_several_plugins(tmp_path: Path) -> None:
    several = SOUND.format(id="x") + "one = plugin\ndef plugin(): return (one(), Registration(SNAPSHOTTER, 'y', len))\n"
    package(tmp_path, "several", several)
    found, _, _ = look(tmp_path)
    assert {"io.containerd.snapshotter.v1.x", "io.containerd.snapshotter.v1.y"} <= found.keys()


def test_of_two_claims_to_one_uri_both_are_named_and_neither_is_loaded(tmp_path: Path) -> None:
    package(tmp_path, "first", SOUND.format(id="same"))
    package(tmp_path, "second", SOUND.format(id="same"))
    found, _, _ = look(tmp_path)
    error = str(found["io.containerd.snapshotter.v1.same"]["error"])
    assert "first 1.0" in error
    assert "second 1.0" in error


def test_a_built_in_plugin_wins_over_a_usurper(tmp_path: Path) -> None:
    package(tmp_path, "usurper", SOUND.format(id="overlayfs"))
    found, _, _ = look(tmp_path)
    own = found["io.containerd.snapshotter.v1.overlayfs"]
    assert (own["builtin"], own["error"]) == (True, None)
    (usurper,) = [each for each in found.values() if each["from"] == "usurper 1.0"]
    assert "io.containerd.snapshotter.v1.overlayfs" in str(usurper["error"])


def test_a_new_version_installed_a_moment_later_is_seen(tmp_path: Path) -> None:
    package(tmp_path, "sound", SOUND.format(id="before"))
    info = tmp_path / "sound-1.0.dist-info" / "entry_points.txt"
    look(tmp_path)
    (tmp_path / "home").rmdir()
    info.write_text("[corten.plugins]\nother = sound:plugin\n")
    (tmp_path / "sound.py").write_text(SOUND.format(id="after-it"))
    found, _, _ = look(tmp_path)
    assert "io.containerd.snapshotter.v1.after-it" in found
