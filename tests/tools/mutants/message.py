"""The message file (spec/message.md)."""

from __future__ import annotations

from mutation import Edit, Mutant

MUTANTS = [
    Mutant(
        "MSG-1",
        "a content that is missing is taken for empty",
        Edit("check_size", "end != size", "end not in (size, size + 4)"),
    ),
    Mutant(
        "MSG-2",
        "the magic in any case",
        Edit("decode", "magic != _MAGIC", "magic.upper() != _MAGIC"),
    ),
    Mutant(
        "MSG-3",
        "any version",
        Edit("decode", "version != _VERSION", "version < _VERSION"),
    ),
    Mutant("MSG-4", "id 0 is taken", Edit("decode", "id == 0", "id < 0")),
    Mutant(
        "MSG-5",
        "milliseconds",
        Edit("Message.__init__", "time.time_ns() // 1000", "time.time_ns() // 1000000"),
    ),
    Mutant("MSG-6", "any ASCII topic", Edit("_decode_topic", "check_topic(topic)", "pass")),
    Mutant(
        "MSG-7",
        "a byte order mark is taken",
        Edit("decode_headers", "raw.decode()", 'raw.decode("utf-8-sig")'),
    ),
    Mutant(
        "MSG-8",
        "lists and objects are left out",
        Edit(
            "decode_headers",
            "headers = _decode(raw.decode())",
            """
            ...
            for name in [n for n, v in headers.items() if isinstance(v, (list, dict))]:
                del headers[name]
            """,
        ),
    ),
    Mutant(
        "MSG-9",
        "the last of equal keys wins",
        Edit("_unique", "len(members) != len(pairs)", "False"),
    ),
    Mutant(
        "MSG-10",
        "integers of 64 bits",
        Edit("headers._fault", "int.__abs__(value) > MAX_INTEGER", "abs(value) > 2**63"),
    ),
    Mutant(
        "MSG-10",
        "counts the sign as a digit",
        Edit("_MAX_DIGITS", "-MAX_INTEGER", "MAX_INTEGER"),
    ),
    Mutant(
        "MSG-11",
        "lone surrogates are taken",
        Edit("_has_lone_surrogate", "str.isascii(text)", "text"),
    ),
    Mutant(
        "MSG-12",
        "deep nesting reads as no headers",
        Edit(
            "decode_headers",
            'raise MalformedHeaders("headers are nested too deep") from None',
            "return {}",
        ),
    ),
    Mutant(
        "MSG-13",
        "a length beyond the end is cut",
        Edit("check_size", "end != size", "end < size"),
    ),
    Mutant(
        "MSG-14",
        "what follows is ignored",
        Edit("check_size", "end != size", "end > size"),
    ),
    Mutant(
        "MSG-15",
        "nested values are written",
        Edit(
            "encode_headers",
            """
            if fault:
                raise InvalidHeaders(fault)
            """,
            """
            if fault and "neither" not in fault:
                raise InvalidHeaders(fault)
            """,
        ),
    ),
    Mutant(
        "MSG-18",
        "compares each key with each",
        Edit(
            "_unique",
            "members = dict(pairs)",
            """
            names = []
            for name, _ in pairs:
                if name in names:
                    raise ValueError("a key occurs twice")
                names.append(name)
            ...
            """,
        ),
    ),
    Mutant(
        "MSG-17",
        "timestamps lose their last digits",
        Edit("decode", "timestamp", "timestamp // 1000 * 1000"),
    ),
    Mutant(
        "MSG-14",
        "a size of 32 bits",
        Edit("reading.read", "status.st_size", "... % 2**32"),
        Edit("_read_all", "size + 1", "size", times=2),
    ),
]
