"""What the commands of `meshhw threshold` share: finding a key by its name, and telling of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from meshhw.cli.common import context

if TYPE_CHECKING:
    from meshhw.managers.threshold.descriptor import Loaded
    from meshhw.managers.threshold.store import KeyStore
    from meshhw.schema.threshold import ThresholdKey


def store_of(name: str) -> KeyStore:
    """The files of the key of that name."""
    from meshhw.managers.threshold.store import Store

    return Store(context().home).at(name)


def load(name: str) -> Loaded:
    """The key of that name. Raises KeyNotFound."""
    from meshhw.managers.host import Host
    from meshhw.managers.threshold import descriptor

    return descriptor.load(store_of(name), Host(context().home))


def row(loaded: Loaded) -> dict[str, Any]:
    """A key in the list."""
    value = loaded.value
    key = value.decryption or value.signing
    return {
        "name": value.name,
        "suite": value.suite,
        "threshold": key.threshold if key else None,
        "holders": len(key.holders) if key else None,
        "decryption": value.decryption.udf if value.decryption else None,
        "signing": value.signing.udf if value.signing else None,
        "version": value.version,
    }


def _key(key: ThresholdKey | None) -> dict[str, Any] | None:
    if key is None:
        return None
    named = {"udf": key.udf, "algorithm": key.algorithm, "threshold": key.threshold}
    return named | {"holders": len(key.holders), "generation": key.generation}


def described(loaded: Loaded) -> dict[str, Any]:
    """What is told of a key everywhere, as JSON."""
    value = loaded.value
    return {
        "name": value.name,
        "suite": value.suite,
        "version": value.version,
        "renewable": value.renewable,
        "dealerless": value.dealerless,
        "devices": [data.udf for data in value.devices],
        "decryption": _key(value.decryption),
        "signing": _key(value.signing),
    }


def summary(loaded: Loaded) -> str:
    """A line for each of the key's uses."""
    value = loaded.value
    lines = []
    for what, key in (("decryption", value.decryption), ("signing", value.signing)):
        if key is not None:
            lines.append(
                f"{value.name} {what:<10} {key.udf}  {key.algorithm}, "
                f"{key.threshold} of {len(key.holders)}, generation {key.generation}"
            )
    return "\n".join(lines)


def holder_line(state: dict[str, Any]) -> str:
    """A holder as a person reads of it."""
    here = "silent" if state["silent"] else "here" if state["present"] else "absent"
    line = f"holder {state['index']:<2} {state['tier']:<9} {here:<7} {state['token']}"
    if here == "silent":
        return f"{line}  which does not answer"
    if here == "absent":
        return f"{line}  last seen here: {state['last_seen'] or 'never'}"
    if state["shown"] is False:
        return f"{line}  which no longer holds its share"
    hidden = state["shown"] is None and state["key"]
    return f"{line}  (whether it still holds its share shows with its PIN alone)" if hidden else line
