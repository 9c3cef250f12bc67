"""pycryptodome is loaded without what takes half of its time, and what was hidden from it is there again."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys
from meshhw.curves.pycryptodome import ecc
point = ecc().EccPoint(*{point}, "Ed448")
print((point * {order}).is_point_at_infinity(), "cffi" in sys.modules, "pycparser" in sys.modules)
import cffi
print(cffi.FFI.__name__, sys.modules["cffi"] is cffi)
"""


def test_the_points_come_without_a_parser_of_c() -> None:
    from meshhw.curves.edwards import ED448

    point = ED448.base.x, ED448.base.y
    program = PROGRAM.format(point=point, order=ED448.order)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["True", "False", "False", "FFI", "True"], done.stderr
