"""The one pcscd of a run: the PC/SC library settles for one when it is first called."""

from __future__ import annotations

import atexit
import os
import shutil
from functools import cache

from meshhw.lab.vpcd import PcscDaemon, lab_directory


@cache
def daemon() -> PcscDaemon:
    """Started at the first call, and ended with the process."""
    directory = lab_directory()
    started = PcscDaemon(directory, ("Lab A", "Lab B"))
    started.start()
    os.environ.update(started.environment())

    def end() -> None:
        started.stop()
        shutil.rmtree(directory)

    atexit.register(end)
    return started
