"""`meshhw dare`: envelopes, encoded, decoded, verified and shown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import typer

from meshhw import files
from meshhw.cli import archives, rewrap, sequences
from meshhw.cli.common import context, verbs
from meshhw.cli.envelopekeys import open_keys
from meshhw.cli.heads import Older
from meshhw.cli.streams import PIPE, reading, writing

if TYPE_CHECKING:
    from meshhw.algorithms import PublicKey
    from meshhw.dare.findings import Finding
    from meshhw.dare.header import ContentMeta
    from meshhw.dare.read import Opened

app = verbs("Envelopes, sequences and archives: encode, decode, verify, prove.")

Source = Annotated[str, typer.Argument(metavar="FILE", help="A file, or - for stdin.")]
Target = Annotated[str, typer.Argument(metavar="OUT", help="Where to write; - is a pipe on stdout.")]
Sync = Annotated[bool, typer.Option("--sync", help="Return only when the file outlasts a loss of power.")]


@app.command("encode")
def encode(
    *,
    file: Source,
    out: Target,
    encrypt: Annotated[
        list[str] | None,
        typer.Option(
            metavar="RECIPIENT", help="A public key or profile file, a device of this home, threshold:NAME."
        ),
    ] = None,
    sign: Annotated[
        list[str] | None, typer.Option(metavar="KEY", help="A key, or a device whose signature key signs.")
    ] = None,
    compat: Annotated[
        bool, typer.Option("--compat", help="Write the form of 2022; it must be signed.")
    ] = False,
    detached: Annotated[
        bool, typer.Option("--detached", help="Write the signatures alone; the file stays as it is.")
    ] = False,
    sync: Sync = False,
) -> None:
    """Put a file into an envelope: encrypted for recipients, signed by keys, or both."""
    from meshhw.cli.targets import announce
    from meshhw.dare.prepare import Outline
    from meshhw.dare.write import sign_detached, write_stream
    from meshhw.keystore.api import Key
    from meshhw.managers.recipients import recipient

    cli = context()
    _require_apart(file, out)
    readers = [recipient(name, cli.home, cli.open_options) for name in encrypt or []]
    with open_keys() as keys:
        signers = [keys.signer(name) for name in sign or []]
        announce(*(key for key in signers if isinstance(key, Key)))
        outline = Outline(readers, signers, content=_content(file), compat=compat)
        with reading(file) as (source, length), writing(out, sync=sync) as target:
            if detached:
                target.write(sign_detached(source, outline).octets())
            else:
                write_stream(source, target, outline, length=length)
    if not readers and not signers:
        cli.output.note("warning: the envelope is neither encrypted nor signed")
    if out != "-":
        cli.output.show({"file": out, "recipients": len(readers), "signers": len(signers)}, "")


@app.command("decode")
def decode(
    *,
    file: Source,
    out: Target,
    key: Annotated[
        list[Path] | None, typer.Option(metavar="PRIVATE", help="A private key file to decrypt with.")
    ] = None,
    response: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="What a holder elsewhere answered (`threshold respond`)."),
    ] = None,
    index: Annotated[
        int | None, typer.Option(metavar="N", help="Of a sequence, the frame whose payload it is.")
    ] = None,
    sync: Sync = False,
    older: Older = False,
) -> None:
    """Take a file out of its envelope; nothing appears at OUT before all of it was checked.

    With --index, out of a sequence.
    """
    from meshhw.dare.read import read_stream

    cli = context()
    if out == "-" and cli.output.json:
        from meshhw.errors import UsageError

        raise UsageError("--json and data cannot both go to stdout", hint="name a file to write")
    sequences.require_index(Path(file), index)
    with open_keys(key or [], response or []) as keys:
        if index is not None:
            opened = sequences.decode_frame(Path(file), index, keys, out, sync=sync, older=older)
        else:
            with reading(file) as (source, _), writing(out, private=True, sync=sync) as target:
                opened = read_stream(source, target.write, keys)
    _warn(opened)
    if out != "-":
        cli.output.show(_described(opened) | {"file": out}, "")


@app.command("verify")
def verify(
    *,
    file: Source,
    signer: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SIGNER",
            help="Who must have signed: a public key file, a contact or a device. Repeatable.",
        ),
    ] = None,
    content: Annotated[
        Path | None, typer.Option("--detached", metavar="FILE", help="What a detached signature is over.")
    ] = None,
    proof: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A proof that must lead to this sequence or head.")
    ] = None,
    older: Older = False,
) -> None:
    """Check an envelope's signatures without decrypting it; or a sequence or archive from end to end."""
    from meshhw.dare.read import read_stream
    from meshhw.errors import SignatureInvalid
    from meshhw.udf import fingerprint

    wanted = [key for name in signer or [] for key in _signer(name)]
    if sequences.is_sequence(file):
        sequences.verify(Path(file), wanted, proof, older=older)
        return
    with reading(file) as (source, _), _over(content) as over:
        opened = read_stream(source, None, known=wanted, detached=over)
    if proof is not None:
        sequences.check_proof_against_head(proof, Path(file), wanted or list(opened.signers))
    for public in wanted:
        if public not in opened.signers:
            raise SignatureInvalid(f"{fingerprint(public)} did not sign this")
    if not opened.signers:
        raise SignatureInvalid("nobody's signature could be verified", hint=_unverified_hint(opened))
    _warn(opened)
    names = [fingerprint(public) for public in opened.signers]
    context().output.show(_described(opened), "\n".join(f"signed by {name}" for name in names))


@app.command("info")
def info(file: Source) -> None:
    """What an envelope says of itself, before any key was used: nothing here is proven."""
    from meshhw.dare.checks import gather
    from meshhw.dare.read import open_heading
    from meshhw.dare.stream import EnvelopeStream

    with reading(file) as (source, _):
        stream = EnvelopeStream(source)
        heading = open_heading(stream.members, None)
        size = sum(map(len, stream.body()))
        claims = gather(heading.members, heading.header, heading.cipher, stream.end())
    header = heading.header
    value: dict[str, Any] = {
        "form": heading.cipher.value,
        "envelope_id": header.envelope_id,
        "recipients": [recipient.kid for recipient in header.recipients],
        "signers": [entry.kid for entry in claims.entries],
        "body": size,
        "content": _content_members(heading.texts()[0]),
        "findings": _findings(heading.findings),
    }
    context().output.show(value, lambda: _as_text(value))


app.command("rewrap")(rewrap.rewrap)
app.command("append")(sequences.append)
app.command("list")(sequences.list_frames)
app.command("prove")(sequences.prove)
app.command("archive")(archives.archive)
app.command("extract")(archives.extract)


@contextmanager
def _over(content: Path | None) -> Iterator[BinaryIO | None]:
    if content is None:
        yield None
        return
    with reading(str(content)) as (source, _):
        yield source


def _require_apart(file: str, out: str) -> None:
    """Raises UsageError where the envelope would take the place of the only copy of what is in it."""
    if PIPE not in (file, out) and Path(file).is_file() and Path(out).exists() and Path(file).samefile(out):
        from meshhw.errors import UsageError

        raise UsageError(
            f"{out} is the file that is to be encoded", hint="name another file for the envelope"
        )


def _content(file: str) -> ContentMeta:
    from meshhw.dare.header import ContentMeta

    return ContentMeta() if file == PIPE else ContentMeta(filename=Path(file).name)


def _warn(opened: Opened) -> None:
    for finding in opened.findings:
        context().output.note(f"warning: {finding.value}")


def _described(opened: Opened) -> dict[str, Any]:
    from meshhw.udf import fingerprint

    return {
        "form": opened.cipher.value,
        "signers": [fingerprint(public) for public in opened.signers],
        "content": _content_members(opened.content),
        "annotations": [text.decode("utf-8", "replace") for text in opened.annotations],
        "findings": _findings(opened.findings),
    }


def _content_members(content: ContentMeta) -> dict[str, Any]:
    from meshhw.dare.header import to_members

    return dict(to_members(content))


def _findings(findings: tuple[Finding, ...]) -> list[dict[str, str]]:
    return [{"finding": finding.name, "meaning": finding.value} for finding in findings]


def _signer(name: str) -> Sequence[PublicKey]:
    """The public keys of a signer: in a file, or known to an account of this home by a name."""
    from meshhw.cli.inputs import public_key_in
    from meshhw.managers.account.names import signing_keys
    from meshhw.managers.host import Host

    if name == "-" or files.is_named(name):
        return [public_key_in(name)]
    cli = context()
    return signing_keys(Host(cli.home), name, cli.open_options)


def _unverified_hint(opened: Opened) -> str:
    named = [check.kid for check in opened.signatures]
    return f"give the public key of {named[0]} with --signer" if named else "it is not signed"


def _as_text(value: dict[str, Any]) -> str:
    lines = [f"form: {value['form']}, {value['body']} octets"]
    lines += [f"for: {kid}" for kid in value["recipients"]]
    lines += [f"says it is signed by: {kid}" for kid in value["signers"]]
    lines += [f"{name}: {member}" for name, member in value["content"].items()]
    return "\n".join(lines)
