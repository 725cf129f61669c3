"""Where the kit looks first: by the file that a mutant changes."""

from __future__ import annotations

_PUBLISH = ("publish-one", "publish-several", "publish-dead", "publish-full", "publish-cleaned")
_PUBLISH_MORE = ("publish-waiting", "publish-closing", "publish-dying", "publish-first")
_RECORDS = ("publish-inline", "publish-kept")
_FETCH = ("fetch", "fetch-invalid", "fetch-missing", "fetch-nothing", "wait")
_FETCH_RECORDS = ("fetch-inline", "wait-inline")
_OPEN = ("open", "open-first", "close")
_OPEN_MARKED = ("open-inline", "close-inline")
_CODEC = ("publish-one", "fetch", "fetch-invalid")

_OF_DELIVERY = (("publish", "guarantee", "inline"), (*_PUBLISH, *_PUBLISH_MORE, *_RECORDS))
_OF_LISTING = (("publish", "inline"), (*_PUBLISH, "publish-first", *_RECORDS))
_OF_FETCHING = (("fetch", "inline"), (*_FETCH, *_FETCH_RECORDS))
_OF_OPENING = (("channel", "inline"), (*_OPEN, *_OPEN_MARKED))
_OF_REMOVAL = (("reap", "channel"), ("reap", *_OPEN))

PLACES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "base": (("base", "security"), ("open-first", "publish-first", "open", "reap")),
    "batch": _OF_FETCHING,
    "capacity": _OF_OPENING,
    "channel": (("channel", "fetch"), (*_FETCH, *_OPEN, "wait-in-vain")),
    "clock": (("fetch", "reap", "message", "publish"), ("wait", "wait-in-vain", "reap")),
    "deliver": _OF_DELIVERY,
    "delivery": _OF_DELIVERY,
    "fetch": _OF_FETCHING,
    "files": (("security", "fetch"), ("reap", "fetch", "open")),
    "fresh": (("publish",), (*_PUBLISH[:2], "open")),
    "hand": _OF_FETCHING,
    "headers": (("message",), _CODEC),
    "ids": (("publish",), _PUBLISH[:2]),
    "inbox": (("fetch", "channel", "inline"), (*_FETCH, *_OPEN, *_FETCH_RECORDS)),
    "json": (("message", "driver"), _CODEC),
    "kept": _OF_LISTING,
    "lane": _OF_LISTING,
    "listing": _OF_LISTING,
    "message": (("message", "topics", "security"), _CODEC),
    "message_file": (("message", "security"), _CODEC),
    "open": _OF_OPENING,
    "outcome": _OF_DELIVERY,
    "owners": _OF_REMOVAL,
    "place": (("base", "security"), ("open-first", "publish-first")),
    "process": _OF_REMOVAL,
    "publish": _OF_DELIVERY,
    "publisher": _OF_DELIVERY,
    "queue": (("channel", "publish", "inline"), (*_OPEN, "publish-one", *_OPEN_MARKED, *_RECORDS)),
    "reading": (("fetch", "security", "message"), _FETCH),
    "reap": _OF_REMOVAL,
    "reaper": _OF_REMOVAL,
    "removal": _OF_REMOVAL,
    "sigpipe": (("publish",), ("publish-full", "publish-dying")),
    "spare": (("fetch", "inline"), (*_FETCH, *_RECORDS)),
    "stage": (("publish",), (*_PUBLISH, "publish-large")),
    "staged": (("publish",), (*_PUBLISH, "publish-large")),
    "subscriber": (("fetch", "channel"), _FETCH),
    "topics": (("topics",), _CODEC),
    "waiters": (("fetch",), ("wait", "wait-in-vain", "wait-inline")),
    "waiting": (("fetch",), ("wait", "wait-in-vain", "wait-inline")),
}
"""The pages of the suite, and the operations of `faults`, by the stem of the file."""

OTHERS = (("guarantee",), ("open-first", "publish-one", "fetch", "close"))
