"""What this home remembers of sequences: the last head it accepted of each, so that one that was cut short,
put back or rewritten is noticed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from meshhw.cli.common import context

if TYPE_CHECKING:
    from meshhw.dare.sequence import SequenceFile

Older = Annotated[
    bool,
    typer.Option("--older", help="Take a copy that is older than what was seen here, such as a backup."),
]


def remember(sequence: SequenceFile, *, older: bool = False, writes: bool = False) -> None:
    """Accept the sequence's head and remember it. An `older` copy is read without being remembered; who
    `writes` to it goes on from there.

    Raises IntegrityError for a sequence that is shorter than it was, or has diverged.
    """
    from meshhw import files
    from meshhw.dare.heads import MEMORY, HeadMemory

    if sequence.tree is None or (older and not writes):
        return
    home = context().home
    files.private_directory(home)
    HeadMemory(home / MEMORY).accept(sequence, anew=older)
