"""Find the one-file extensions of a folder: a backbone or a head is a file, its name is the name."""

import importlib
from importlib import resources
from types import ModuleType

from .errors import RecipeError


def names(package: str) -> list[str]:
    """Names of the plugins in a package, without importing any.

    A file ``flow_hist.py`` is the plugin ``flow-hist``.
    """
    files = (entry.name for entry in resources.files(package).iterdir())
    return sorted(
        file.removesuffix(".py").replace("_", "-")
        for file in files
        if file.endswith(".py") and not file.startswith("_")
    )


def load(package: str, name: str) -> ModuleType:
    """Import one plugin.

    Raises:
        RecipeError: no plugin of that name.
    """
    known = names(package)
    if name not in known:
        kind = package.rpartition(".")[2].removesuffix("s")
        raise RecipeError(f"no {kind} '{name}'; choose one of: {', '.join(known)}")
    return importlib.import_module(f"{package}.{name.replace('-', '_')}")
