"""Several holders' processes in step: what one says is carried to the others, imports are written down."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from meshhw.jsonbcd import encode_base64url
from meshhw.managers.threshold.renewing import RenewOrder
from meshhw.managers.threshold.store import KeyStore
from meshhw.managers.threshold.worker import Worker

Route = Callable[[dict[int, Any], int], Any]
"""What a holder is told, by what all have said and its index."""


@dataclass(frozen=True)
class Lockstep:
    """One renewal's processes. The manager sees ciphertext, public points and sealed shares."""

    workers: dict[int, Worker]
    orders: dict[int, RenewOrder]

    def run(
        self, boxes: dict[int, bytes], store: KeyStore, journal: dict[str, Any]
    ) -> dict[int, dict[str, Any]]:
        """Every holder's result, when all have come to their end; `boxes` are the keys they greeted with.

        Raises the first error of any.
        """
        order = next(iter(self.orders.values()))
        for worker in self.workers.values():
            worker.answer(boxes)
        if order.replaced:
            self._exchange(_addressed)  # parts
            self._exchange(_addressed)  # sums
        self._exchange(_dealt)
        shares = self._told()
        if order.signing:
            self._answer_all()
        else:
            self._watch_imports(store, journal, shares)
        self._told()
        self._answer_all()
        return {index: worker.result() for index, worker in self.workers.items()}

    def _watch_imports(self, store: KeyStore, journal: dict[str, Any], shares: dict[int, Any]) -> None:
        """Write down which shares will be on which tokens, then each key as soon as it is there."""
        places = [[self.orders[i].token, encode_base64url(told["share"])] for i, told in shares.items()]
        store.write_journal(journal | {"shares": places})
        keys = []
        for worker in self.workers.values():
            worker.answer()
            keys.append(worker.told()["key"])
            store.write_journal(journal | {"shares": places, "keys": keys})
        self._answer_all()

    def _told(self) -> dict[int, Any]:
        return {index: worker.told() for index, worker in self.workers.items()}

    def _answer_all(self) -> None:
        for worker in self.workers.values():
            worker.answer()

    def _exchange(self, route: Route) -> None:
        told = self._told()
        for index, worker in self.workers.items():
            worker.answer(route(told, index))


def _addressed(told: dict[int, Any], index: int) -> dict[int, bytes]:
    """What each said to this one."""
    return {giver: one[index] for giver, one in told.items() if index in one}


def _dealt(told: dict[int, Any], index: int) -> dict[int, Any]:
    return {
        dealer: {"commitments": one["commitments"], "value": one["values"][index]}
        for dealer, one in told.items()
    }
