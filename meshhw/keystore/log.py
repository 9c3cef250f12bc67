"""The use log's seam: drivers tell a recorder of every private-key operation, whoever writes it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Protocol, TypeVar

from meshhw.algorithms import Operation
from meshhw.errors import MeshError
from meshhw.keystore.uri import KeyURI, TokenURI


class UseRecorder(Protocol):
    """Told once after every private-key operation, whether it succeeded or not."""

    def record(self, key: KeyURI, operation: Operation, result: str) -> None:
        """`result` is "ok" or the name of the error's class. No secret is ever passed."""
        ...


class NullRecorder:
    """Forgets everything."""

    def record(self, key: KeyURI, operation: Operation, result: str) -> None:
        return None


NULL_RECORDER: UseRecorder = NullRecorder()


class HasURI(Protocol):
    """A key's handle, as far as the log cares."""

    @property
    def uri(self) -> KeyURI: ...


Made = TypeVar("Made", bound=HasURI)


def recorded_making(
    recorder: UseRecorder,
    token: TokenURI,
    operation: Operation,
    make: Callable[[], Made],
    undo: Callable[[KeyURI], object],
) -> Made:
    """The new key that `make` gives, recorded by its name; where none was made, by its token's.

    A key that cannot be recorded is destroyed again by `undo`. Raises what `make` and the recorder raise.
    """
    try:
        made = make()
    except MeshError as error:
        recorder.record(in_place_of_key(token), operation, type(error).__name__)
        raise
    try:
        recorder.record(made.uri, operation, "ok")
    except MeshError:
        with suppress(MeshError):
            undo(made.uri)
        raise
    return made


def in_place_of_key(token: TokenURI) -> KeyURI:
    """What the log calls something that a token did by itself, with no key that has a name."""
    return KeyURI(token.scheme, token.path)


def in_memory(udf: str) -> KeyURI:
    """What the log calls a private key that a program holds in its memory and no token has, by the key's
    fingerprint: one from a key file, say, or of a seed. No driver has this scheme, so it opens nothing."""
    return KeyURI("memory", (("udf", udf.encode()),))


@contextmanager
def recorded(recorder: UseRecorder, key: KeyURI, operation: Operation) -> Iterator[None]:
    """Tell the recorder how the operation in the block ended."""
    try:
        yield
    except MeshError as error:
        recorder.record(key, operation, type(error).__name__)
        raise
    recorder.record(key, operation, "ok")
