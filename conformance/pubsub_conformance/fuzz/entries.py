"""Entries of any name, type and mode in the base, in `tmp` and in channels.

They are planted beside channels at work. Then every operation that lists directories runs once:
publish, fetch, open, reap, close. The channels have to work as ever; the planted entries are kept
or removed according to their name, type and age.
"""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from pubsub_conformance.driver import Driver, OpenChannel, Rejected
from pubsub_conformance.oracle.base import Base

from .names import DIRECTORIES, FILES, TMP, draw_name
from .planting import TOPIC, Planter
from .target import Target, Violation, pruned
from .trees import clear, difference, look, status_changed

Script = list[Any]
"""What `tmp` is, then an entry each: [where, name, kind, mode or null]; names as os.fsdecode
returns them."""

ASIDE = "aside"
"""Where `tmp` is while something else has its place."""


class Entries(Target[Script]):
    """Fuzzes the entries of directories."""

    name = "entries"
    roles = frozenset({"publisher", "subscriber", "reaper"})

    def draw(self, random: Random) -> Script:
        tmp = random.choice(TMP) if random.random() < 0.2 else "directory"
        script: Script = [tmp]
        for _ in range(random.choice((1, 2, 4, 8, 16))):
            where = random.choice(("base", "base", "base", "tmp", "mine", "other"))
            kinds = FILES if random.random() < (0.2 if where == "base" else 0.5) else DIRECTORIES
            kind = "deep" if random.random() < 0.005 else random.choice(kinds)
            mode = random.choice((None, None, None, 0, 0o444, 0o777, 0o4755, 0o1777))
            script.append([where, draw_name(random, where), kind, mode])
        return script

    def blame(self, input: Script) -> str:
        return "BASE-10"

    def smaller(self, input: Script, fails: Callable[[Script], bool]) -> Script:
        tmp, planted = input[0], pruned(input[1:], lambda rest: fails([input[0], *rest]))
        if tmp != "directory" and fails(["directory", *planted]):
            tmp = "directory"
        for at, (where, name, kind, _) in enumerate(planted):
            simpler = [*planted[:at], [where, name, kind, None], *planted[at + 1 :]]
            if fails([tmp, *simpler]):
                planted = simpler
        return [tmp, *planted]

    def dump(self, input: Script) -> bytes:
        return json.dumps(input).encode()

    def load(self, data: bytes) -> Script:
        script = json.loads(data)
        if not isinstance(script, list) or not script:
            raise ValueError("an input for entries is a list: the kind of tmp, then entries")
        return script

    def judge(self, driver: Driver, input: Script) -> None:
        outside = self.directory / "outside"
        try:
            _Run(driver, Base(self.home), outside).play(input)
        finally:
            for path in (self.home, outside, self.directory / ASIDE):
                clear(path)


class _Run:
    """One script, in a base with a channel of the driver and one of the kit."""

    def __init__(self, driver: Driver, base: Base, outside: Path) -> None:
        self.driver = driver
        self.base = base
        self.outside = outside
        outside.mkdir(parents=True)
        (outside / "file").write_bytes(b"kept")
        (outside / "directory").mkdir()
        (outside / "directory" / "file").write_bytes(b"kept")
        self.mine = driver.open("a.+")
        self.other = base.open("a.+")
        directories = {
            "base": base.path,
            "tmp": base.tmp,
            "mine": self.mine.directory,
            "other": self.other.directory,
        }
        self.planter = Planter(outside, directories)

    def play(self, script: Script) -> None:
        """Plant the entries, run the operations, and check their effects. Raises Violation."""
        tmp, *entries = script
        try:
            for where, name, kind, mode in entries:
                self.planter.plant(where, name, kind, mode)
            kept = look(self.outside)
            if tmp != "directory":
                self._without_tmp(tmp)
                reaped = True if tmp == "missing" else None
                self.planter.check("young", f"reaping with tmp {tmp}", reaped=reaped)
            self._work()
            if look(self.outside) != kept:
                raise Violation("CHAN-15", "something outside the base was changed")
        finally:
            self.other.stop_reading()
            self.planter.close()

    def _work(self) -> None:
        driver, mine, planter = self.driver, self.mine, self.planter
        receivers = planter.receivers()
        self._publish(2 + receivers, mine)
        planter.check("young", "publishing and fetching", reaped=False)
        second = driver.open(TOPIC)
        planter.check("young", "opening a channel", reaped=None)  # REAP-1 is a SHOULD
        self._publish(3 + receivers, mine, second)
        driver.reap()
        planter.check("young", "reaping", reaped=True)
        last = max((status_changed(planted.path) for planted in planter.planted), default=0.0)
        while time.time() < last + 0.002:
            time.sleep(0.001)  # until all planted entries are stale by a stale age of 0
        driver.reap(0)
        planter.check("stale", "reaping with a stale age of 0", reaped=True)
        self._publish(3 + receivers, mine, second)
        for channel in (second, mine):
            try:
                driver.close_channel(channel)
            except Rejected as error:
                if not (planter.restricted and error.code == "io-error"):
                    raise Violation("CHAN-14", f"closing: {error}") from None
        planter.planted = [planted for planted in planter.planted if planted.where != "mine"]
        planter.check("stale", "closing", reaped=True)
        if not planter.restricted:
            planter.check_only("base", {"tmp", self.other.directory.name})
            planter.check_only("tmp", set())

    def _publish(self, expected: int, *channels: OpenChannel) -> None:
        """Every channel has to get one message, which is counted. Raises Violation."""
        restricted = self.planter.restricted
        content = os.urandom(8)
        try:
            count: int | None = self.driver.publish(TOPIC, content, {"k": 1})
        except Rejected as error:
            if not (restricted and error.code == "io-error"):
                raise Violation("GUAR-1", f"publish: expected {expected}, found {error}") from None
            count = error.count
        if count != expected and not restricted:
            raise Violation("GUAR-1", f"publish: expected the count {expected}, found {count}")
        for channel in channels:
            for due in (content, None):
                try:
                    found = self.driver.fetch(channel)
                except Rejected as error:
                    raise Violation("CHAN-3", f"fetch: expected a message, found {error}") from None
                if (found and found.content) != due:
                    raise Violation("GUAR-2", f"fetch: expected {due!r}, found {found}")
        received = [message.content for message in self.other.fetch_all()]
        if received != [content]:
            raise Violation(
                "GUAR-3", f"the kit's own channel: expected {content!r}, found {received}"
            )

    def _without_tmp(self, kind: str) -> None:
        """Try the operations with something else in the place of `tmp`, which is moved aside."""
        tmp, aside = self.base.tmp, self.outside.parent / ASIDE
        tmp.rename(aside)
        made = True
        try:
            if kind != "missing":
                try:
                    self.planter.make(tmp, kind)
                except PermissionError:
                    return
                before = look(tmp)
                for operation in ("publish", "open", "reap"):
                    self._check_refused(operation, kind)
                if difference(before, look(tmp)):
                    raise Violation("BASE-12", f"a {kind} in the place of tmp was changed")
                tmp.unlink()
            else:
                self.driver.reap()
                try:
                    self.driver.publish("z")  # perhaps to no channel
                except Rejected as error:  # or to a queue that the driver may not open
                    if not (self.planter.restricted and error.code == "io-error"):
                        raise
                made = tmp.exists()
        finally:
            if made and stat.S_ISDIR(tmp.lstat().st_mode if os.path.lexists(tmp) else 0):
                clear(tmp)
            if not os.path.lexists(tmp):
                aside.rename(tmp)

    def _check_refused(self, operation: str, kind: str) -> None:
        fields: dict[str, dict[str, Any]] = {
            "publish": {"topic": TOPIC, "content": "", "headers": {}},
            "open": {"pattern": "a"},
            "reap": {},
        }
        try:
            self.driver.request(operation, **fields[operation])
        except Rejected as error:
            if error.code == "base-unusable":
                return
            raise Violation("BASE-12", f"{operation}, tmp is a {kind}: {error}") from None
        if operation != "reap":  # a reaper that has nothing to remove does not need tmp
            raise Violation("BASE-12", f"{operation}, tmp is a {kind}: expected base-unusable")
