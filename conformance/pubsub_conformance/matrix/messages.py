"""Messages of every kind that a check sends through two implementations, and their comparison."""

from __future__ import annotations

import zlib
from typing import Any, Final

from ..oracle.message import Message
from .parties import Finding, enumerated

HEADERS: Final[tuple[dict[str, Any], ...]] = (
    {},
    {"text": "plain", "empty": "", "": "no key"},
    {"letters": "äöü ß Ωж 中文 🎉", "ключ": "key", "controls": '"\\/\b\f\n\r\t\x00\x1f\x7f'},
    {"zero": 0, "least": -(2**53 - 1), "most": 2**53 - 1},
    {"half": 0.5, "tenth": 0.1, "huge": 1.7976931348623157e308, "tiny": 5e-324, "minus": -2.5},
    {"yes": True, "no": False, "nothing": None, "one": 1},
    {f"key-{i}": "x" * i for i in range(200)},
)
"""Every kind that MSG-8 to MSG-11 allow."""

CONTENTS: Final = (b"", b"\0", bytes(range(256)), b"\n" * 4096, b"\xff" * 65537, b"PMSG" * 2**20)
"""Empty, all octets, a page, more than a pipe, many times a pipe."""

SAMPLES: Final[tuple[tuple[dict[str, Any], bytes], ...]] = (
    *((headers, b"content") for headers in HEADERS),
    *(({}, content) for content in CONTENTS),
)
"""Headers and content of each message."""


def compare(got: Message, sent: Message) -> None:
    """Raise Finding unless both messages are equal."""
    if got == sent:
        return
    faults = []
    for field in ("id", "timestamp", "topic"):
        was, came = getattr(sent, field), getattr(got, field)
        if was != came:
            faults.append(f"the {field} {was} came as {came}")
    if got.content != sent.content:
        was, came = zlib.crc32(sent.content), zlib.crc32(got.content)
        sizes = f"{len(sent.content)} octets came as {len(got.content)}"
        faults.append(f"a content of {sizes} (CRC-32 {was:08x}, {came:08x})")
    for key in [*sent.headers, *(key for key in got.headers if key not in sent.headers)]:
        both = [
            repr(headers[key]) if key in headers else "nothing"
            for headers in (sent.headers, got.headers)
        ]
        if both[0] != both[1]:
            faults.append(f"the header {key!r}: {both[0][:60]} came as {both[1][:60]}")
    raise Finding(enumerated(faults))
