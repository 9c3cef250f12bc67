"""`meshhw version`."""

from __future__ import annotations

import platform

from meshhw import __version__
from meshhw.cli.common import context, single

app = single()


@app.command()
def version() -> None:
    """The versions of meshhw and Python, and the installed drivers."""
    from meshhw.keystore import registry

    drivers = list(registry.names())
    python = platform.python_version()
    context().output.show(
        {"meshhw": __version__, "python": python, "drivers": drivers},
        f"meshhw {__version__}\npython {python}\ndrivers {' '.join(drivers)}",
    )
