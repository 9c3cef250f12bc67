"""Escrow sheets to print: for each share one page in PDF with its text and QR code, and the code in PNG."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from textwrap import wrap

from meshhw import files
from meshhw.managers.account.codes import code_of, png_of
from meshhw.managers.account.escrow import Sheet

_WIDTH, _HEIGHT, _MARGIN = 595, 842, 57
"""A4 in points of 1/72 inch, and 2 cm."""
_MODULE = 6
_LINE = 16
_COLUMNS = 74


def write_sheets(sheets: Sequence[Sheet], directory: Path) -> list[Path]:
    """`share-N.pdf` and `share-N.png` for every sheet, readable by their owner alone.

    Raises InsecurePermissions for a directory that others can enter, StateError when it cannot be written.
    """
    files.private_directory(directory)
    written = []
    for sheet in sheets:
        for suffix, data in (("pdf", pdf(sheet)), ("png", png_of(sheet.code))):
            path = directory / f"share-{sheet.index}.{suffix}"
            files.replace(path, data)
            written.append(path)
    return written


def pdf(sheet: Sheet) -> bytes:
    """A page with the sheet's title, its share and its QR code (ISO 32000-1, without compression)."""
    lines = [*wrap(sheet.title, _COLUMNS), "", *wrap(sheet.share, _COLUMNS, break_on_hyphens=False)]
    top = _HEIGHT - _MARGIN
    content = f"BT /F1 11 Tf {_LINE} TL {_MARGIN} {top} Td {_shown(lines)} ET\n"
    content += _modules(code_of(sheet.code).matrix, top - _LINE * (len(lines) + 1))
    return _document(content.encode("latin-1", "replace"))


def _shown(lines: Iterable[str]) -> str:
    """Text-showing operators; parentheses and backslashes are escaped."""
    escaped = (line.translate({40: "\\(", 41: "\\)", 92: "\\\\"}) for line in lines)
    return " ".join(f"({line}) Tj T*" for line in escaped)


def _modules(matrix: Iterable[Iterable[int]], top: int) -> str:
    """A filled square for every dark module."""
    squares = (
        f"{_MARGIN + x * _MODULE} {top - y * _MODULE} {_MODULE} {_MODULE} re"
        for y, row in enumerate(matrix)
        for x, dark in enumerate(row)
        if dark
    )
    return "\n".join(squares) + "\nf\n"


def _document(content: bytes) -> bytes:
    """A file of one page with this content."""
    page = f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {_WIDTH} {_HEIGHT}] /Contents 5 0 R"
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        f"{page} /Resources << /Font << /F1 4 0 R >> >> >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Courier >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(content), content),
    ]
    out = bytearray(b"%PDF-1.4\n")
    offsets = []
    for number, body in enumerate(objects, start=1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    out += b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, start)
    return bytes(out)
