"""The verbs of `meshhw dare` on archives."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from meshhw.cli.common import context
from meshhw.cli.envelopekeys import KeyFiles, Recipients, Signers, open_keys
from meshhw.cli.heads import Older, remember
from meshhw.cli.streams import naming

if TYPE_CHECKING:
    from meshhw.dare.exchange import KeyFinder
    from meshhw.dare.sequence import SequenceFile


def archive(
    *,
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="What is archived.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The archive.")],
    encrypt: Recipients = None,
    sign: Signers = None,
    key: KeyFiles = None,
    update: Annotated[
        bool, typer.Option("--update", help="Add to the archive what has changed, for the same readers.")
    ] = False,
    sync: Annotated[bool, typer.Option("--sync", help="Return when it outlasts a loss of power.")] = False,
    older: Older = False,
) -> None:
    """Put a directory into one file: encrypted, signed, any file of it read alone."""
    from meshhw.dare.archive import make_archive, update_archive
    from meshhw.errors import UsageError
    from meshhw.managers.recipients import recipient

    cli = context()
    if update and encrypt:
        raise UsageError("an update is for the archive's own readers", hint="make a new archive for others")
    readers = [recipient(name, cli.home, cli.open_options) for name in encrypt or []]
    told, detail = partial(cli.interaction.progress, out.name), cli.output.detail
    with open_keys(key or []) as keys:
        signers = [keys.signer(name) for name in sign or []]
        if update:
            with naming(str(out)):
                _remember(out, older=older)
                count = update_archive(directory, out, keys, signers, detail, progress=told, sync=sync)
        else:
            count = make_archive(
                directory, out, readers, signers, detail, progress=told, sync=sync, sealed=remember
            )
    if sync and update:  # what may be lost yet is not missed
        _remember(out)
    if not readers and not update:
        cli.output.note("warning: the archive is not encrypted")
    cli.output.show({"archive": str(out), "written": count}, f"entries written: {count}")


def extract(
    *,
    archive: Annotated[Path, typer.Argument(metavar="ARCHIVE", help="What `meshhw dare archive` wrote.")],
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where to; made if absent.")],
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME…", help="Only these.")] = None,
    key: KeyFiles = None,
    signer: Annotated[
        list[Path] | None,
        typer.Option(metavar="PUBLIC", help="A public key that must have signed the archive."),
    ] = None,
    older: Older = False,
) -> None:
    """Take files out of an archive, all of them or those that are named, with their modes and times."""
    from meshhw.cli.inputs import public_key_in
    from meshhw.dare.archive import read_index
    from meshhw.dare.archive_extract import choose
    from meshhw.dare.archive_extract import extract as extract_entries
    from meshhw.dare.sequence import SequenceFile
    from meshhw.dare.sequence_read import SequenceReader

    cli = context()
    wanted = [public_key_in(path) for path in signer or []]
    with (
        naming(str(archive)),
        SequenceFile(archive, keeps_positions=False) as opened,
        open_keys(key or []) as keys,
    ):
        if opened.torn_at is not None:
            cli.output.note("warning: the archive's end is torn; what is whole is extracted")
        _check_signers(opened, wanted)
        remember(opened, older=older)
        reader = SequenceReader(opened, keys)
        entries = choose(read_index(opened, reader), names or [])
        extract_entries(opened, reader, entries, directory, partial(cli.interaction.progress, archive.name))
    cli.output.show(
        {"directory": str(directory), "extracted": len(entries)}, f"entries extracted: {len(entries)}"
    )


def list_names(archive: SequenceFile, keys: KeyFinder) -> list[dict[str, Any]]:
    """The names in an archive, decrypted."""
    from meshhw.dare.archive import read_index
    from meshhw.dare.sequence_read import SequenceReader

    entries = read_index(archive, SequenceReader(archive, keys))
    return [
        {
            "name": name,
            "size": entry.size,
            "frame": entry.index,
            "type": entry.kind,
            "mode": f"{entry.mode:o}",
        }
        for name, entry in sorted(entries.items())
    ]


def _remember(path: Path, *, older: bool = False) -> None:
    from meshhw.dare.sequence import SequenceFile

    with SequenceFile(path, keeps_positions=False) as archive:
        remember(archive, older=older, writes=True)


def _check_signers(archive: SequenceFile, wanted: list[Any]) -> None:
    """The wanted keys have signed the head, and every frame is under it. Raises SignatureInvalid,
    IntegrityError."""
    from meshhw.dare.heads import sealed_head
    from meshhw.dare.sequence_check import check_sequence
    from meshhw.errors import SignatureInvalid
    from meshhw.udf import fingerprint

    if not wanted:
        return
    sealed = sealed_head(archive)
    for public in wanted:
        if sealed is None or public not in sealed[1]:
            raise SignatureInvalid(f"{fingerprint(public)} did not sign this archive")
    check_sequence(archive)
