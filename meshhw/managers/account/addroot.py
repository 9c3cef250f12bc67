"""One more root key for an account that exists: a token to put away, or one in the place of a lost one."""

from __future__ import annotations

from msgspec.structs import replace

from meshhw.errors import NotSupported, StateError, UsageError
from meshhw.keystore.uri import TokenURI
from meshhw.managers.account.administrators import signed_by_root
from meshhw.managers.account.authority import Authority, Founder
from meshhw.managers.account.rooting import further_root, root_handles, statement
from meshhw.managers.keymaking import KeyMaker
from meshhw.managers.profilemaking import ProfileRequest, plan_profile, signer_of
from meshhw.schema.assertion import MAX_FURTHER_ROOTS, open_profile, roots_of
from meshhw.schema.profile import ProfileUser


class NewRoot:
    """A root key that an account shall have besides those that it has. Close it to let go of the tokens."""

    def __init__(self, found: Authority, token: TokenURI) -> None:
        """Where the key would go; asks for no PIN and changes nothing.

        Raises NotSupported for a token that cannot keep it inside, for an account whose root is a quorum, and
        on a connected device; StateError for too many.
        """
        if not isinstance(found, Founder):
            raise NotSupported("a root key is added on the machine where the account was made")
        handles = root_handles(found.record.keys)
        if handles[0].is_shared:
            raise NotSupported("the root is a quorum, which a root on one token would make worthless")
        if token in [handle.key_uri.token for handle in handles]:
            raise UsageError("this token has a root key of the account already")
        if len(found.profile.further_roots) >= MAX_FURTHER_ROOTS:
            raise StateError(f"the account has {MAX_FURTHER_ROOTS} further roots already, which is the most")
        self._found = found
        self._maker = KeyMaker(found.host.home, found.options)
        role = further_root(len(found.profile.further_roots) + 2)
        request = ProfileRequest(tokens=[token], suite=found.suite, label=found.address)
        self.plan = plan_profile(self._maker, [role], request)

    def add(self, root_on: TokenURI | None = None) -> ProfileUser:
        """Make the key, have an earlier root and the key itself say that it counts, sign the profile anew.
        If anything fails, nothing is left. Raises what the tokens raise."""
        found = self._found
        label = f"mesh {found.address}".strip()
        with self._maker.making(self.plan, label=label) as made:
            with found.root(root_on) as root:
                added = statement(root, found.udf, signer_of(made[0]))
            profile = found.profile
            envelope = signed_by_root(
                found, replace(profile, further_roots=(*profile.further_roots, added)), root_on
            )
            roots_of(open_profile(envelope, ProfileUser).value)
            found.record = replace(found.record, keys=(*found.record.keys, made[0].handle()))
            found.take_profile(envelope)
        return found.profile

    def close(self) -> None:
        """Close the tokens."""
        self._maker.close()

    def __enter__(self) -> NewRoot:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
