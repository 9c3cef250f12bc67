"""A threshold decryption key in use: which holders are here, what they will ask, and one key for them all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from meshhw.algorithms import PublicKey
from meshhw.curves.named import curve_named
from meshhw.curves.point import Point
from meshhw.errors import KeyNotFound, MeshError, OperationTimeout, TokenError, TokenNotFound
from meshhw.keystore.api import Key, Needs, OpenOptions
from meshhw.keystore.interaction import Tells
from meshhw.keystore.uri import KeyURI
from meshhw.managers.threshold.demand import Demand, key_needs
from meshhw.managers.threshold.descriptor import Loaded, group_public, share_point
from meshhw.managers.threshold.tokens import OpenTokens, absentee
from meshhw.schema.threshold import ThresholdHolder, ThresholdKey
from meshhw.threshold.agreement import Partial
from meshhw.threshold.decrypt import ThresholdAgreement
from meshhw.threshold.holders import Fault, GivenHolder, Holder, KeyHolder

Say = Callable[[str], None]


def silent(_: str) -> None:
    """Say nothing."""


def saying(options: OpenOptions) -> Say:
    """How a person is told which holders are asked."""
    return options.interaction.tell if isinstance(options.interaction, Tells) else silent


@dataclass(frozen=True)
class TokenHolder:
    """A holder whose token is here; its key is looked for when it is asked, since that may need a PIN."""

    index: int
    share: Point
    uri: str
    needs: Needs
    """What asking it will ask of the person."""
    tokens: OpenTokens = field(repr=False)

    @property
    def key(self) -> Key:
        """The share's key. Raises KeyNotFound."""
        return self.tokens.key(self.uri)

    def is_unattended(self) -> bool:
        """Whether asking it asks nobody else."""
        return not (self.needs.pin or self.needs.touch)

    def partial(self, point: Point) -> Partial:
        """Ask the token."""
        with self.tokens.asked(KeyURI.parse(self.uri).token):
            return KeyHolder(self.index, self.key, self.share).partial(point)


class ThresholdPrivateKey:
    """A threshold key as envelopes use one: it has a public key and unwraps (`UnwrapsAgreed`).

    It asks no PIN before it knows that enough holders are here. `say` is told what will be asked, unless that
    was `announced` already, and of holders that failed; `notice` is told which holders' tokens are here.
    """

    def __init__(
        self,
        loaded: Loaded,
        tokens: OpenTokens,
        *,
        given: Sequence[GivenHolder] = (),
        say: Say = silent,
        notice: Callable[[list[int]], object] = len,
        announced: bool = False,
    ) -> None:
        self._name = loaded.value.name
        self._key = loaded.key("decryption")
        self._dealerless = loaded.value.dealerless
        self._tokens = tokens
        self._given = given
        self._say = say
        self._notice = notice
        self._announced = announced
        self._told: set[str] = set()

    @property
    def public(self) -> PublicKey:
        """The group's public key."""
        return group_public(self._key)

    def unwrap(self, peer: PublicKey, kdf_info: bytes, wrapped: bytes) -> bytes:
        """As `UnwrapsAgreed`. Raises TokenNotFound, naming the holders that are missing."""
        return self._whole().unwrap(peer, kdf_info, wrapped)

    def agree_certainly(self, peer: PublicKey) -> Point:
        """The agreed point where nothing tells a right candidate: two questions to each holder."""
        return self._whole().agree_point(peer)

    def _whole(self) -> ThresholdAgreement:
        return ThresholdAgreement(
            curve_named(self._key.algorithm),
            self._key.threshold,
            self.holders(),
            self._report,
            additive=self._dealerless,
        )

    def holders(self) -> list[Holder]:
        """The holders that can be asked, answers from elsewhere first. Raises TokenNotFound."""
        given = {holder.index: holder for holder in self._given}
        local = [h for h in self._key.holders if h.index not in given]
        present, missing = find_holders(self._key, local, self._tokens)
        present.sort(key=self._owes)  # those that hang come last
        with suppress(OSError, MeshError):  # a home that cannot be written is no reason not to decrypt
            self._notice([holder.index for holder in present])
        if len(given) + len(present) < self._key.threshold:
            raise TokenNotFound(
                f"{self._name} needs {self._key.threshold} holders and {len(given) + len(present)} are here; "
                f"missing: {', '.join(missing)}",
                hint="insert one of these tokens, or ask its holder: `meshhw threshold request ENVELOPE`",
            )
        self._announce(present[: self._key.threshold - len(given)])
        return [*given.values(), *present]

    def _owes(self, holder: TokenHolder) -> bool:
        return self._tokens.owes(KeyURI.parse(holder.uri).token)

    def _announce(self, asked: Sequence[TokenHolder]) -> None:
        """Say it before the first question; tokens that are open ask for no PIN again."""
        if self._announced or not asked:
            return
        self._announced = True
        demand = Demand()
        for holder in asked:
            demand.add(self._tokens, KeyURI.parse(holder.uri).token, holder.needs)
        self._say(demand.text(f"{self._name} asks {self._key.threshold} of {len(self._key.holders)} holders"))

    def _report(self, fault: Fault) -> None:
        if isinstance(fault.error, OperationTimeout):
            self._tokens.gave_up(KeyURI.parse(self._key.holder(fault.index).key or "").token)
        line = f"holder {fault.index} of {self._name} failed: {fault.error.message}"
        if line not in self._told:
            self._told.add(line)
            self._say(line)


def _needs(tokens: OpenTokens, key: KeyURI) -> Needs | None:
    """What asking a holder will ask of a person; None when its token is not here. One that still owes an
    answer to an earlier question, which asked nobody, is not spoken to before it must be.
    """
    if tokens.owes(key.token):
        return Needs()
    return key_needs(tokens, key) if tokens.present(key.token) else None


def find_holders(
    key: ThresholdKey, among: Sequence[ThresholdHolder], tokens: OpenTokens
) -> tuple[list[TokenHolder], list[str]]:
    """The holders whose tokens are here with their shares, as far as that shows without a PIN, and what the
    others are called.
    """
    present, missing = [], []
    for holder in among:
        uri = KeyURI.parse(holder.key or "")
        try:
            needs = _needs(tokens, uri)
        except KeyNotFound:
            missing.append(absentee(holder.index, holder.token, "which no longer holds its share"))
            continue
        except OperationTimeout:
            needs = None
            tokens.gave_up(uri.token)
        except TokenError:
            needs = None  # it went this very moment
        if needs is None:
            missing.append(absentee(holder.index, holder.token, tokens.why_absent(uri.token)))
        else:
            share = share_point(key, holder.index)
            present.append(TokenHolder(holder.index, share, str(uri), needs, tokens))
    return present, missing
