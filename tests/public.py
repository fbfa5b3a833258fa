"""What is public in skmot: modules that have an `__all__`."""

import pkgutil
from importlib import import_module

import skmot


def public_modules():
    """Return the modules with an `__all__`; no part of their names begins with "_"."""
    names = [
        module.name
        for module in pkgutil.walk_packages(skmot.__path__, "skmot.")
        if not any(part.startswith("_") for part in module.name.split("."))
    ]
    modules = [skmot, *map(import_module, names)]
    return [module for module in modules if hasattr(module, "__all__")]
