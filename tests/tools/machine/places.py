"""Where the kit looks first: by the file that a mutant changes."""

from __future__ import annotations

_PUBLISH = ("publish-one", "publish-several", "publish-dead", "publish-full", "publish-cleaned")
_PUBLISH_MORE = ("publish-waiting", "publish-closing", "publish-dying", "publish-first")
_FETCH = ("fetch", "fetch-invalid", "fetch-missing", "fetch-nothing", "wait")
_OPEN = ("open", "open-first", "close")
_CODEC = ("publish-one", "fetch", "fetch-invalid")

PLACES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "publisher": (("publish", "guarantee"), (*_PUBLISH, *_PUBLISH_MORE)),
    "publish": (("publish", "guarantee"), (*_PUBLISH, *_PUBLISH_MORE)),
    "staged": (("publish",), (*_PUBLISH, "publish-large")),
    "listing": (("publish",), (*_PUBLISH, "publish-first")),
    "sigpipe": (("publish",), ("publish-full", "publish-dying")),
    "ids": (("publish",), _PUBLISH[:2]),
    "fresh": (("publish",), (*_PUBLISH[:2], "open")),
    "channel": (("channel", "fetch"), (*_FETCH, *_OPEN, "wait-in-vain")),
    "inbox": (("fetch", "channel"), (*_FETCH, *_OPEN)),
    "hand": (("fetch",), _FETCH),
    "queue": (("channel", "publish"), (*_OPEN, "publish-one", "reap")),
    "reaper": (("reap", "channel"), ("reap", *_OPEN)),
    "reap": (("reap", "channel"), ("reap", *_OPEN)),
    "base": (("base", "security"), ("open-first", "publish-first", "open", "reap")),
    "place": (("base", "security"), ("open-first", "publish-first")),
    "files": (("security", "fetch"), ("reap", "fetch", "open")),
    "message": (("message", "topics", "security"), _CODEC),
    "message_file": (("message", "security"), _CODEC),
    "headers": (("message",), _CODEC),
    "json": (("message", "driver"), _CODEC),
    "topics": (("topics",), _CODEC),
    "clock": (("fetch", "reap", "message", "publish"), ("wait", "wait-in-vain", "reap")),
    "subscriber": (("fetch", "channel"), _FETCH),
}
"""The pages of the suite, and the operations of `faults`, by the stem of the file."""

OTHERS = (("guarantee",), ("open-first", "publish-one", "fetch", "close"))
