"""The project holds to its own plan: layout, packaging, generated files, house numbers."""

import ast
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from counts import COUNTS

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
FAMILIES = sorted(path for path in (ROOT / "plugins").glob("*/corten_*") if path.is_dir())
SOURCES = sorted(
    path
    for folder in ("core", "plugins", "tests", "bench", "tools")
    for path in (ROOT / folder).rglob("*.py")
    if not path.name.endswith("_pb2.py")
)
OWN = [path for path in SOURCES if path.is_relative_to(ROOT / "core") or path.is_relative_to(ROOT / "plugins")]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda path: path.name)
def test_each_family_is_packaged_checked_and_typed(family: Path) -> None:
    packages = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert str(family.relative_to(ROOT)) in packages
    assert family.name in PROJECT["tool"]["importlinter"]["root_packages"]
    for contract in PROJECT["tool"]["importlinter"]["contracts"]:
        if contract["id"] == "families":
            assert family.name in contract["modules"]
    assert (family / "py.typed").exists()
    assert (family / "registration.py").exists()


def test_each_scenario_of_the_table_of_counts_is_run_by_a_test() -> None:
    found = {
        call.args[0].value
        for path in (ROOT / "tests").rglob("test_*.py")
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "count" and call.args
        if isinstance(call.args[0], ast.Constant) and isinstance(call.args[0].value, str)
    }
    assert found == set(COUNTS)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda path: path.name)
def test_each_family_has_an_entry_point(family: Path) -> None:
    points = PROJECT["project"]["entry-points"]["corten.plugins"].values()
    assert any(value.startswith(f"{family.name}.") for value in points)


def test_entry_points_are_those_installed() -> None:
    points = metadata.distribution("corten").entry_points
    installed = {point.name: point.value for point in points if point.group == "corten.plugins"}
    assert installed == PROJECT["project"]["entry-points"]["corten.plugins"]


def test_no_source_is_over_600_lines() -> None:
    long = {str(p.relative_to(ROOT)): n for p in SOURCES if (n := len(p.read_text().splitlines())) > 600}
    assert long == {}


def test_every_module_says_what_it_promises() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in OWN
        if path.read_text().strip() and not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert silent == []


def test_functions_are_short_as_a_rule() -> None:
    """The median is about eight lines and nine in ten stay under thirty (docs/architecture.md, house numbers)."""
    lengths = sorted(
        (node.end_lineno or node.lineno) - node.lineno + 1
        for path in OWN
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    assert lengths[len(lengths) // 2] <= 10
    assert lengths[len(lengths) * 9 // 10] <= 30


def test_generated_messages_are_up_to_date(tmp_path: Path) -> None:
    subprocess.run([sys.executable, ROOT / "tools/genproto.py", tmp_path], check=True, capture_output=True)
    made = sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*_pb2.py"))
    kept = sorted(p.relative_to(ROOT / "core") for p in (ROOT / "core").rglob("*_pb2.py"))
    assert made == kept
    different = [str(p) for p in made if descriptor_in(tmp_path / p) != descriptor_in(ROOT / "core" / p)]
    assert different == []


def descriptor_in(module: Path) -> bytes:
    """The serialised file descriptor of a generated module; the text around it differs between versions of protoc."""
    literals = (node.value for node in ast.walk(ast.parse(module.read_text())) if isinstance(node, ast.Constant))
    return max((value for value in literals if isinstance(value, bytes)), key=len)


def test_every_direct_dependency_is_explained() -> None:
    text = (ROOT / "docs/dependencies.md").read_text()
    wanted = [*PROJECT["project"]["dependencies"], *PROJECT["project"]["optional-dependencies"]["dev"]]
    names = {line.split(";")[0].split(">")[0].strip() for line in wanted}
    assert [name for name in sorted(names) if f"`{name}`" not in text] == []
