"""The front door: quick help, subcommands imported late, the catalogue true, errors in a line, exit codes."""

import json
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from corten.cli import exits
from corten.cli.catalog import COMMANDS
from corten.cli.main import corten as command
from corten.cli.reference import markdown
from corten.cli.reporting import report
from corten.errors import BY_CODE, CortenError, FailedPrecondition, InvalidArgument, NotFound, Unavailable
from daemon import CORTEN

HELP_SECONDS = 0.150
"""The budget of the issue, on a quiet machine: the best of some tries counts."""


def run(*args: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [str(CORTEN), *args], capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL
    )


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys; sys.argv = ['corten', '--help']\n"
        "from corten.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(sorted(set(sys.modules) & {'grpc', 'rich', 'asyncio', 'google.protobuf', 'aiohttp', 'corten.client'}))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_help_answers_at_once() -> None:
    def once() -> float:
        began = time.perf_counter()
        assert run("--help").returncode == 0
        return time.perf_counter() - began

    assert min(once() for _ in range(7)) <= HELP_SECONDS


@pytest.mark.parametrize("name", list(COMMANDS))
def test_catalogue_is_true(name: str) -> None:
    """What `corten --help` says without importing is what the subcommand says itself."""
    module, _, attribute = COMMANDS[name].target.partition(":")
    found = getattr(import_module(f"corten.cli.commands.{module}"), attribute)
    assert isinstance(found, click.Command)
    result = CliRunner().invoke(command, [name, "--help"])
    assert result.exit_code == 0
    assert COMMANDS[name].help.endswith(".") and found.help


def test_an_unknown_command_is_a_usage_error() -> None:
    done = run("frobnicate")
    assert done.returncode == exits.USAGE
    assert "No such command 'frobnicate'" in done.stderr


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (["stop"], exits.USAGE, "CONTAINERS"),
        (["ps", "--nosuch"], exits.USAGE, "--nosuch"),
        (["run"], exits.NOT_RUN, "IMAGE"),
        (["run", "--nosuch", "image"], exits.NOT_RUN, "--nosuch"),
        (["run", "--cpus", "many", "image"], exits.NOT_RUN, "--cpus"),
        (["run", "--env-file", "/nosuch", "image"], exits.NOT_RUN, "/nosuch"),
        (["run", "--rm", "--detach", "image"], exits.NOT_RUN, "exclude each other"),
        (["run", "-t", "image"], exits.NOT_RUN, "terminal"),
        (["exec", "web"], exits.NOT_RUN, "COMMAND"),
        (["attach", "--nosuch", "web"], exits.NOT_RUN, "--nosuch"),
        (["start", "--attach"], exits.NOT_RUN, "CONTAINER"),
        (["wait"], exits.NOT_RUN, "CONTAINERS"),
    ],
)
def test_a_wrong_command_line_is_not_mistaken_for_the_exit_of_a_process(args: list[str], code: int, says: str) -> None:
    done = run(*args)
    assert done.returncode == code
    assert says in done.stderr and f"Usage: corten {args[0]}" in done.stderr


@pytest.mark.parametrize("args", [["ps"], ["images"], ["info"], ["content", "ls"], ["events"], ["plugins", "ls"]])
def test_no_daemon_is_said_in_one_line(args: list[str]) -> None:
    done = run("--address", "/run/corten-test-nobody.sock", *args)
    assert done.returncode == exits.UNAVAILABLE
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert "/run/corten-test-nobody.sock" in done.stderr and "is cortend running?" in done.stderr


def test_no_daemon_for_run_is_not_the_exit_code_of_a_container() -> None:
    assert run("-a", "/run/corten-test-nobody.sock", "run", "busybox").returncode == exits.NOT_RUN


def test_version_tells_its_own_without_a_daemon() -> None:
    done = run("-a", "/run/corten-test-nobody.sock", "version", "--format", "json")
    assert done.returncode == exits.UNAVAILABLE
    assert json.loads(done.stdout)["daemon"] is None
    assert run("--version").stdout.startswith("corten ")


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["-n", "no/slash", "ps"], "namespace"),
        (["-a", "", "ps"], "empty address"),
        (["kill", "-s", "NOPE", "c"], "no such signal"),
    ],
)
def test_bad_values_are_the_callers_fault(args: list[str], says: str) -> None:
    done = run(*args)
    assert done.returncode == exits.USAGE
    assert says in done.stderr and "Traceback" not in done.stderr


def test_every_error_has_an_exit_code_with_a_meaning() -> None:
    assert {exits.of(cls("x")) for cls in BY_CODE.values()} <= set(exits.MEANINGS)
    assert exits.of(NotFound("x")) == 3 and exits.of(InvalidArgument("x")) == 2 and exits.of(Unavailable("x")) == 6


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (NotFound("container 'x': it does not exist"), "corten ps -a"),
        (NotFound("task 'x': does not exist"), "corten ps -a"),
        (NotFound("image 'x': it does not exist"), "corten images"),
        (FailedPrecondition("task 'x': cannot exec: it is stopped"), "corten start"),
    ],
)
def test_what_to_do_about_an_error_is_told(error: CortenError, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    report(error)
    told = capsys.readouterr().err
    assert error.message in told and f"`{says}`" in told
    report(type(error)(f"{error.message} (do this)"))
    assert capsys.readouterr().err == f"corten: {error.message} (do this)\n"


def test_codes_before_a_process_ran() -> None:
    assert exits.of_start(NotFound('exec: "x": executable file not found in $PATH')) == exits.NO_COMMAND
    assert exits.of_start(NotFound("exec /x: permission denied")) == exits.NOT_EXECUTABLE
    assert exits.of_start(NotFound("container 'x': it does not exist")) == exits.NOT_RUN
    assert exits.of_start(NotFound("container 'exec': mount /a: no such file or directory")) == exits.NOT_RUN


def test_reference_has_every_command_and_exit_code() -> None:
    page = markdown()
    for name in COMMANDS:
        assert f"\n## corten {name}\n" in page
    assert "\n## corten plugins explain\n" in page and "`--detach-keys TEXT`" in page
    assert all(f"| {code} | {meaning} |" in page for code, meaning in exits.MEANINGS.items())


def test_a_mistyped_command_gets_the_nearest() -> None:
    done = run("pul")
    assert done.returncode == 2 and "Did you mean 'pull'?" in done.stderr


def test_output_that_cannot_be_written_is_said_plainly() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run([str(CORTEN), "--help"], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1 and done.stderr == "corten: standard output: No space left on device\n"


def test_closed_streams_are_no_trouble() -> None:
    done = subprocess.run(
        ["sh", "-c", f"{CORTEN} --version <&- >&-; echo $?"], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("0\n", "")


def test_the_reference_in_the_docs_is_up_to_date() -> None:
    page = Path(__file__).parents[2] / "docs" / "command.md"
    assert page.read_text() == markdown(), "run `make docs`"
