"""What the author of a driver reads about a reply that breaks the protocol."""

from __future__ import annotations

from typing import Any

import pytest
from pubsub_conformance.driver.protocol import reply_fault

HELLO = {
    "seq": 1,
    "implementation": "x",
    "version": "1",
    "language": "C",
    "spec": "1",
    "roles": ["codec"],
}
MESSAGE = {"id": "1", "timestamp": "2", "topic": "a", "headers": {}, "content": ""}
REFUSED = {"code": "invalid-topic", "detail": ""}
EVENT = {"n": 0, "start": "1", "end": "2", "count": 1}


def hello(**fields: object) -> dict[str, Any]:
    return {**HELLO, **fields}


def message(**fields: object) -> dict[str, Any]:
    return {"seq": 1, "message": {**MESSAGE, **fields}}


def error(**fields: object) -> dict[str, Any]:
    return {"seq": 1, "error": {**REFUSED, **fields}}


def event(**fields: object) -> dict[str, Any]:
    return {"seq": 1, "event": {**EVENT, **fields}}


@pytest.mark.parametrize(
    ("op", "reply"),
    [
        ("hello", HELLO),
        ("fetch", message(headers={"a": 1.5, "b": None, "c": True})),
        ("fetch", {"seq": 1, "message": None}),
        ("fetch", error()),
        ("fetch", {**error(), "seq": None}),
        ("fetch", error(code="io-error", errno="EIO")),
        ("produce", event()),
        ("produce", {"seq": 1, "event": {"n": 0, "start": "1", "end": "2", "error": REFUSED}}),
    ],
)
def test_a_good_reply_has_no_fault(op: str, reply: dict[str, Any]) -> None:
    assert reply_fault(op, reply) is None


COUNT = "(The number of queues that took the message.)"
HEADER = "(A header's value: string, number, boolean or null.)"
ROLES = "(The roles of the implementation. The kit tests no other role.)"
EITHER = "(One publish: with `count`, or with `error`.)"


@pytest.mark.parametrize(
    ("op", "reply", "fault"),
    [
        # A field is missing.
        ("publish", {"seq": 1}, f'the line lacks "count" {COUNT}'),
        (
            "open",
            {"seq": 1},
            'the line lacks "channel" (The handle of the new channel.), '
            '"directory" (The name of the channel\'s directory in the base directory.)',
        ),
        ("fetch", error(code="io-error"), 'error lacks "errno" (An `io-error` has an `errno`.)'),
        # There is a field too many.
        (
            "fetch",
            message(error="io-error"),
            'message must not have "error", only id, timestamp, topic, headers, content',
        ),
        (
            "publish",
            {"seq": 1, "count": 1, "n": 2},
            'the line must not have "n", only seq, count',
        ),
        # The type is wrong. Values are shown in JSON.
        ("publish", {"seq": 1, "count": "1"}, f'count must be integer, found "1" {COUNT}'),
        ("publish", {"seq": 1, "count": True}, f"count must be integer, found true {COUNT}"),
        ("publish", {"seq": 1, "count": None}, f"count must be integer, found null {COUNT}"),
        ("decode", message(id=7), "message.id must be string, found 7 (The message's id.)"),
        ("fetch", message(id=7), "message.id must be string, found 7 (The message's id.)"),
        (
            "fetch",
            {"seq": 1, "message": "x"},
            'message must be object or null, found "x" '
            "(The message, or null if the queue is empty.)",
        ),
        (
            "fetch",
            message(headers={"a.b": {}}),
            f"message.headers.a.b must be string or number or boolean or null, found {{}} {HEADER}",
        ),
        # The value is not one of a list.
        (
            "hello",
            hello(roles=["publishr"]),
            "roles[0] must be one of ['topics', 'codec', 'publisher', 'subscriber', 'reaper', "
            "'inline'], found \"publishr\"",
        ),
        # The number is out of range.
        (
            "publish",
            {"seq": 1, "count": -1},
            f"count must be bigger than or equal to 0, found -1 {COUNT}",
        ),
        (
            "publish",
            {"seq": 1, "count": 2**53},
            f"count must be smaller than or equal to {2**53 - 1}, found {2**53} {COUNT}",
        ),
        (
            "decode",
            message(id=str(2**64)),
            f'message.id must be uint64, found "{2**64}" (The message\'s id.)',
        ),
        # The text does not have the form.
        (
            "decode",
            message(id="07"),
            'message.id must match pattern ^(0|[1-9][0-9]{0,19})$, found "07" (The message\'s id.)',
        ),
        (
            "hello",
            hello(spec="1\n"),
            'spec must match pattern ^[0-9]+(\\.[0-9]+)*$, found "1\\n" '
            "(The version of the specification that it implements, such as `1`.)",
        ),
        (
            "decode",
            message(content="QQ"),
            'message.content must be base64, found "QQ" (The content.)',
        ),
        # A text or an array is empty, or an element is there twice.
        (
            "hello",
            hello(version=""),
            "version must be longer than or equal to 1 characters, "
            'found "" (The version of the implementation.)',
        ),
        ("hello", hello(roles=[]), f"roles must contain at least 1 items, found [] {ROLES}"),
        (
            "hello",
            hello(roles=["codec", "codec"]),
            f'roles must contain unique items, found ["codec", "codec"] {ROLES}',
        ),
        # Of two groups of fields there must be one.
        (
            "produce",
            {"seq": 1, "event": {"n": 0, "start": "1", "end": "2"}},
            "event must have exactly one of: count; error, "
            f'found {{"n": 0, "start": "1", "end": "2"}} {EITHER}',
        ),
    ],
)
def test_a_fault_is_described(op: str, reply: dict[str, Any], fault: str) -> None:
    assert reply_fault(op, reply) == fault


def test_an_unknown_error_code_is_shown_beside_the_known_ones() -> None:
    fault = reply_fault("fetch", error(code="invalid-topik"))
    assert fault is not None
    assert fault.startswith('error.code must be one of "invalid-topic", "invalid-pattern", ')
    assert fault.endswith(', found "invalid-topik" (The kind of error, one of a closed list.)')


def test_several_faults_are_named_but_not_more_than_three() -> None:
    fault = reply_fault("produce", event(n=-1, start=1, end=2, count=None))
    assert fault is not None
    assert [part.split()[0] for part in fault.split("; ")] == [
        "event.n",
        "event.start",
        "event.end",
    ]


def test_a_fault_is_one_short_line() -> None:
    """Whatever a driver puts into names and values."""
    headers = {"line\nfeed \ud800": ["x" * 1000], "y" * 1000: ["é"]}
    fault = reply_fault("fetch", {**message(headers=headers), "z" * 1000: 1})
    assert fault is not None
    assert fault.isprintable()
    assert len(fault) < 1200
    assert "message.headers.line\\nfeed \\ud800 must be" in fault
