"""`cortend oci-hook`: by hand, and as a hook of a real runc."""

import json
import subprocess
from pathlib import Path

import pytest
from corten.daemon.oci_hook import State, fill
from corten.errors import InvalidArgument
from daemon import CORTEND

STATE = State("c1", "/b", "/b/rootfs", 42, "created", {"a.b/c": "value", 'q"': "quoted"})


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("plain { }", "plain { }"),
        ("{{id}} {{ pid }}", "c1 42"),
        ("--root={{rootfs}}:{{bundle}}:{{status}}", "--root=/b/rootfs:/b:created"),
        ('{{annotation "a.b/c"}}', "value"),
        ('{{annotation "q\\""}}{{annotation `none`}}', "quoted"),
    ],
)
def test_expressions(text: str, filled: str) -> None:
    assert fill(text, STATE) == filled


@pytest.mark.parametrize("text", ["{{name}}", "{{annotation}}", "{{annotation x}}", "{{id | print}}", "{{}}"])
def test_expressions_that_are_none(text: str) -> None:
    with pytest.raises(InvalidArgument):
        fill(text, STATE)


def run(*args: str, state: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [CORTEND, "oci-hook", *args], input=state, capture_output=True, text=True, timeout=30, env={"X": "{{id}}"}
    )


def test_the_program_takes_over(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"root": {"path": "rootfs"}}))
    state = json.dumps({"id": "c1", "bundle": str(tmp_path), "pid": 7, "status": "creating"})
    done = run("/bin/sh", "-c", "echo $X {{rootfs}} --pid={{pid}}; exit 3", "--config", state=state)
    assert (done.returncode, done.stdout) == (3, f"c1 {tmp_path}/rootfs --pid=7\n"), done.stderr
    assert run("--", "/bin/echo", "{{id}}", "--", state=state).stdout == "c1 --\n"


@pytest.mark.parametrize(
    ("args", "state", "said"),
    [
        ((), "{}", "give the program"),
        (("/bin/true",), "[]", "not a JSON object"),
        (("/bin/true",), "{", "not JSON"),
        (("/bin/true",), '{"bundle": "/no/such"}', "/no/such/config.json"),
    ],
)
def test_what_is_wrong_is_said(args: tuple[str, ...], state: str, said: str) -> None:
    done = run(*args, state=state)
    assert done.returncode == 1 and said in done.stderr and "Traceback" not in done.stderr
