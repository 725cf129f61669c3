"""What came of each mutant, in JSON Lines: kept at once, so that a run can go on later."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

INVALID = "invalid"  # it cannot be compiled or linked
EQUAL = "equal"  # its code is that of the original, or of a mutant before it
KILLED = "killed"
ALIVE = "alive"  # after the tests that concern it; the rest of the kit has not looked at it yet
SURVIVED = "survived"
EXCUSED = "excused"  # and therefore not judged

TIME_LIMIT, TOO_LATE = TOO_SLOW = ("time limit", "too late")  # of all stages, of one reply


@dataclass
class Result:
    """What came of one candidate."""

    name: str  # the candidate's
    outcome: str
    key: str = ""  # the mutant's
    code: str = ""
    stage: str = ""  # the one that killed it
    how: str = ""
    tests: list[str] = field(default_factory=list)
    requirements: list[str] = field(default_factory=list)
    why: str = ""
    seconds: float = 0.0

    @property
    def is_open(self) -> bool:
        """Whether to judge again may change it: it lives, or was too slow for the kit.

        What is too slow may have been so because the machine was busy.
        """
        return self.outcome == SURVIVED or self.how in TOO_SLOW

    @property
    def function(self) -> str:
        """The function that was changed."""
        return self.name.partition("|")[0]


class Results:
    """The last result of each candidate."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._by_name: dict[str, Result] = {}
        if file.exists():
            data = file.read_bytes()
            whole = data[: data.rfind(b"\n") + 1]  # the last line may be cut off
            os.truncate(file, len(whole))
            for line in whole.splitlines():
                result = Result(**json.loads(line))
                self._by_name[result.name] = result

    def __iter__(self) -> Iterator[Result]:
        return iter(self._by_name.values())

    def __len__(self) -> int:
        return len(self._by_name)

    def get(self, name: str) -> Result | None:
        """The result of this candidate."""
        return self._by_name.get(name)

    def add(self, result: Result) -> None:
        """Keeps it in the file, too."""
        self._by_name[result.name] = result
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(result), ensure_ascii=False) + "\n")
