"""QR codes of texts, for terminals and as pictures."""

from __future__ import annotations

import io

import segno


def code_of(text: str) -> segno.QRCode:
    """The code, with error correction of level M."""
    return segno.make_qr(text, error="m")


def png_of(text: str) -> bytes:
    """In PNG."""
    out = io.BytesIO()
    code_of(text).save(out, kind="png", scale=8)
    return out.getvalue()


def terminal(text: str) -> str:
    """In characters."""
    out = io.StringIO()
    code_of(text).terminal(out, compact=True)
    return out.getvalue()
