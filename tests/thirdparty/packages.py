"""Packages from outside the tree: built as wheels and installed by pip into a fresh environment beside Corten."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

HERE = Path(__file__).parent
REPOSITORY = HERE.parent.parent

HEADER = "from corten.plugin.model import Registration, one\nfrom corten.plugin.types import *\n"

BROKEN: Mapping[str, str] = {
    "importerror": "import a_module_that_is_nowhere\n",
    "assertion": "assert False, 'this package asserts at import'\n",
    "systemexit": "raise SystemExit('this package exits at import')\n",
    "endless": "import time\nwhile True:\n    time.sleep(1)\n",
    "raising": HEADER
    + "def init(context):\n    raise RuntimeError('the tape is torn')\n"
    + "def plugin():\n    return Registration(type=SNAPSHOTTER, id='torn', init=init)\n",
    "hanging": HEADER
    + "import time\ndef init(context):\n    time.sleep(100000)\n"
    + "def plugin():\n    return Registration(type=SNAPSHOTTER, id='stuck', init=init)\n",
    "lonely": HEADER
    + "def init(context):\n    return object()\n"
    + "def plugin():\n    return Registration(type=SNAPSHOTTER, id='lonely', init=init,"
    + " requires=(one(PluginType('com.example.nowhere.v1')),))\n",
    "claimone": HEADER
    + "def init(context):\n    return object()\n"
    + "def plugin():\n    return Registration(type=SNAPSHOTTER, id='claimed', init=init)\n",
    "claimtwo": HEADER
    + "def init(context):\n    return object()\n"
    + "def plugin():\n    return Registration(type=SNAPSHOTTER, id='claimed', init=init)\n",
    "usurper": HEADER
    + "def init(context):\n    raise RuntimeError('must never run')\n"
    + "def plugin():\n    return Registration(type=SNAPSHOTTER, id='overlayfs', init=init)\n",
    "secondstore": HEADER
    + "def init(context):\n    return object()\n"
    + "def plugin():\n    return Registration(type=CONTENT, id='second', init=init)\n",
}


def broken_project(folder: Path, name: str) -> Path:
    """Write a project whose one module is the given source."""
    project = folder / name
    package = project / f"corten_x_{name}"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "registration.py").write_text(BROKEN[name])
    (project / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
        f'[project]\nname = "corten-x-{name}"\nversion = "0.1"\n'
        f'[project.entry-points."corten.plugins"]\n{name} = "corten_x_{name}.registration:plugin"\n'
        f'[tool.hatch.build.targets.wheel]\npackages = ["corten_x_{name}"]\n'
    )
    return project


def run(*argv: str | Path) -> None:
    """Run a build step; a failure shows what it printed."""
    done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, f"{argv}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"


def build_wheels(wheels: Path, projects: list[Path]) -> None:
    """Build with the environment's own hatchling: nothing is downloaded."""
    options = ("--no-deps", "--no-build-isolation", "--disable-pip-version-check", "-q", "-w", wheels)
    run(sys.executable, "-m", "pip", "wheel", *options, *projects)


def environment(folder: Path, wheels: Path, *distributions: str) -> Path:
    """A new virtual environment with Corten's wheel and the named ones; its bin folder."""
    run(sys.executable, "-m", "venv", folder)
    pip = folder / "bin/pip"
    run(pip, "install", "-q", "--disable-pip-version-check", "--find-links", wheels, "corten", *distributions)
    return folder / "bin"
