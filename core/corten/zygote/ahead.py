"""Reading the code of modules some time before they are imported.

With the code of a module come its names, its tables of lines and its documentation, which no child looks at. Read
ahead, they do not lie between the functions and classes that its import makes (see `compact`).
"""

import sys
from collections.abc import Iterable, Sequence
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import find_spec
from types import CodeType, ModuleType


class _ReadLoader(SourceFileLoader):
    code: CodeType | None = None

    def get_code(self, fullname: str) -> CodeType | None:
        return self.code or super().get_code(fullname)


class _ReadModules:
    """A finder (`sys.meta_path`) of the modules that were read."""

    def __init__(self) -> None:
        self.specs: dict[str, ModuleSpec] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return self.specs.pop(fullname, None)


_read = _ReadModules()


def read_ahead(modules: Iterable[str]) -> None:
    """Read the code of each module that is a source file and was not imported; packages above it are imported."""
    if _read not in sys.meta_path:
        sys.meta_path.insert(0, _read)
    for name in modules:
        spec = None if name in sys.modules else find_spec(name)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            loader = _ReadLoader(name, spec.loader.path)
            loader.code = loader.get_code(name)
            spec.loader = loader
            _read.specs[name] = spec
