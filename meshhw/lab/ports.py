"""Free ports of the loop-back for the lab's daemons."""

from __future__ import annotations

import random
import socket

from meshhw.errors import OperationTimeout

LOWEST, HIGHEST = 20000, 32000  # below the range from which outgoing connections take theirs
TRIES = 200


def bind_pair() -> tuple[socket.socket, socket.socket]:
    """Two listening sockets of 127.0.0.1 on neighbouring ports, the lower first.

    Raises OperationTimeout when no pair is free.
    """
    for _ in range(TRIES):
        port = random.randrange(LOWEST, HIGHEST, 2)  # noqa: S311  (a port is no secret)
        lower = _bound(port)
        if lower is None:
            continue
        upper = _bound(port + 1)
        if upper is not None:
            return lower, upper
        lower.close()
    raise OperationTimeout("no two neighbouring ports are free", hint="end programs that listen on 127.0.0.1")


def free_pair() -> int:
    """The lower of two neighbouring ports that were free a moment ago (for a daemon that binds itself)."""
    lower, upper = bind_pair()
    port: int = lower.getsockname()[1]
    lower.close()
    upper.close()
    return port


def _bound(port: int) -> socket.socket | None:
    stream = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        stream.bind(("127.0.0.1", port))
        stream.listen()
    except OSError:
        stream.close()
        return None
    return stream
