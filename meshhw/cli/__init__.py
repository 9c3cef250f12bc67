"""meshhw.cli.

A command makes thousands of objects while it is imported, nearly all of which stay; looking for garbage among
them as often as Python does by default takes a tenth of a short command's time.
"""

import gc

gc.set_threshold(50_000, 20, 20)
