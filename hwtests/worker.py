"""What another process does with a key, the PIN on stdin: `python -m hwtests.worker HOW KEY [SECONDS]`.

`many` signs for so many seconds and prints how often. `few` opens the token and signs with 0, 1, 2... file
descriptors left, and prints the errors that this raised and how many descriptors were lost.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from meshhw.conformance.independent import check_signature
from meshhw.errors import MeshError
from meshhw.keystore.api import OpenOptions, Signs
from meshhw.keystore.interaction import Scripted
from meshhw.keystore.registry import open_token
from meshhw.keystore.uri import KeyURI

MESSAGE = b"what is signed"
MOST_DESCRIPTORS = 40


def sign(uri: KeyURI, pin: str, until: float = 0) -> int:
    """Open the token, sign at least once and until then; how often."""
    done = 0
    with closing(open_token(uri.token, OpenOptions(Scripted(lambda _: pin)))) as token:
        key = token.key(uri)
        assert isinstance(key, Signs)
        while not done or time.monotonic() < until:
            check_signature(key.public, MESSAGE, key.sign(MESSAGE))
            done += 1
    return done


@contextmanager
def only(spare: int) -> Iterator[None]:
    """Within, this process may open that many more descriptors."""
    free = os.open(os.devnull, os.O_RDONLY)
    os.close(free)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free + spare, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def few(uri: KeyURI, pin: str) -> dict[str, object]:
    """Every number of descriptors from none on, until there are enough."""
    sign(uri, pin)  # what is loaded once is loaded
    before, errors = settled(), []
    for spare in range(MOST_DESCRIPTORS):
        try:
            with only(spare):
                sign(uri, pin)
        except MeshError as error:
            errors.append(f"{type(error).__name__}: {error.message}")
        else:
            break
        sign(uri, pin)
    return {"errors": errors, "lost": settled() - before}


def settled() -> int:
    """Open descriptors, once those of threads that are just ending are closed."""
    counts = [-1]
    while len(counts) < 4 or len(set(counts[-3:])) > 1:
        counts.append(len(list(Path("/proc/self/fd").iterdir())))
        time.sleep(0.05)
    return counts[-1]


def main(how: str, name: str, seconds: str = "0") -> None:
    """Print what came out, as JSON."""
    uri, pin = KeyURI.parse(name), sys.stdin.readline().strip()
    print(json.dumps(sign(uri, pin, time.monotonic() + float(seconds)) if how == "many" else few(uri, pin)))


if __name__ == "__main__":
    main(*sys.argv[1:])
