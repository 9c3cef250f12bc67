"""python-pkcs11 without what it imports for keys' encodings.

`import pkcs11` brings its five modules of encodings, and they bring asn1crypto, which takes longer to import
than all else of it; this driver writes the few structures that it needs itself (`keytypes`). So they are put
in place empty, and load themselves when somebody asks them for something. Import this before `pkcs11`.
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from threading import RLock
from typing import Any

_ENCODINGS = ("dh", "dsa", "ec", "rsa", "x509")


def _defer() -> None:
    """Raises nothing: without python-pkcs11 its import tells so, and what is loaded already stays."""
    package = find_spec("pkcs11")
    if package is None or "pkcs11" in sys.modules:
        return
    for directory in package.submodule_search_locations or ():
        for name in _ENCODINGS:
            file = Path(directory, "util", f"{name}.py")
            spec = spec_from_file_location(f"pkcs11.util.{name}", file)
            if spec is not None and file.is_file():
                _put(spec)


def _put(spec: ModuleSpec) -> None:
    module, lock, begun = module_from_spec(spec), RLock(), False

    def load(attribute: str) -> Any:
        """A module's `__getattr__` (PEP 562): the first attribute that is missed loads the module."""
        nonlocal begun
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        with lock:
            if not begun and spec.loader is not None:
                begun = True
                spec.loader.exec_module(module)
        if attribute not in module.__dict__:
            raise AttributeError(f"module {spec.name!r} has no attribute {attribute!r}")
        return module.__dict__[attribute]

    module.__dict__["__getattr__"] = load
    sys.modules[spec.name] = module


_defer()
