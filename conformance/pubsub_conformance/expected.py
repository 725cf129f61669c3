"""Expected failures: a TOML file beside a driver, each entry with its reason.

```toml
[[expected]]
requirement = "PUB-7"
reason = "writes the id in two halves, see issue 12"
```
"""

import sys
from collections.abc import Container
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found, unused-ignore]


class ExpectedError(Exception):
    """The file of expected failures cannot be read or does not say what it must."""


def load(path: Path, known: Container[str]) -> dict[str, str]:
    """Reasons by requirement id. Raises ExpectedError; `known` are the ids that there are."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ExpectedError(f"{path}: {error}") from None
    entries = document.pop("expected", [])
    if document or not isinstance(entries, list):
        raise ExpectedError(f"{path}: only [[expected]] entries may stand here")
    reasons: dict[str, str] = {}
    for number, entry in enumerate(entries, start=1):
        where = f"{path}: entry {number}"
        if not isinstance(entry, dict) or entry.keys() - {"requirement", "reason"}:
            raise ExpectedError(f"{where}: an entry has 'requirement' and 'reason' only")
        name, reason = entry.get("requirement"), entry.get("reason")
        if not isinstance(name, str) or name not in known:
            raise ExpectedError(f"{where}: there is no requirement {name!r}")
        if name in reasons:
            raise ExpectedError(f"{where}: {name} is listed twice")
        if not isinstance(reason, str) or not reason.strip():
            raise ExpectedError(f"{where}: {name} is given no reason")
        reasons[name] = reason.strip()
    return reasons
