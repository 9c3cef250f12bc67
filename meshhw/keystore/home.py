"""Where the state directory is."""

from __future__ import annotations

import os
from pathlib import Path

VARIABLE = "MESHHW_HOME"


def state_directory() -> Path:
    """`$MESHHW_HOME`, else meshhw's place under the user's data directory (XDG). It need not exist."""
    named = os.environ.get(VARIABLE)
    if named:
        return Path(named).expanduser().absolute()
    from platformdirs import user_data_path

    return user_data_path("meshhw", appauthor=False)
