"""Lets a checkout say `import tokenthrift`, as with the wheel: the package is `src` there.

Submodules are the same objects under both names, so that no class exists twice.
"""

import importlib
import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

import src


class _Alias(MetaPathFinder, Loader):
    """Finds `tokenthrift.<name>` as `src.<name>`."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if not name.startswith("tokenthrift."):
            return None
        module = importlib.import_module("src." + name.removeprefix("tokenthrift."))
        return ModuleSpec(name, self, loader_state=module.__spec__)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return sys.modules["src." + spec.name.removeprefix("tokenthrift.")]

    def exec_module(self, module: ModuleType) -> None:
        if module.__spec__ is not None:  # which the import system has replaced by the alias
            module.__spec__ = module.__spec__.loader_state


sys.meta_path.insert(0, _Alias())
if __name__ == "__main__":  # python -m tokenthrift
    from src.__main__ import run

    run()
sys.modules[__name__] = src
