"""All operations that are disturbed, by name."""

from . import fetching, opening, publishing, reaping
from .operation import Operation

OPERATIONS: dict[str, Operation] = {
    "open": opening.Open(),
    "open-first": opening.OpenFirst(),
    "publish-one": publishing.PublishToOne(),
    "publish-several": publishing.Publish(),
    "publish-large": publishing.PublishLarge(),
    "publish-full": publishing.PublishToFull(),
    "publish-waiting": publishing.PublishWaiting(),
    "publish-dead": publishing.PublishToDead(),
    "publish-cleaned": publishing.PublishCleaned(),
    "publish-closing": publishing.PublishClosing(),
    "publish-dying": publishing.PublishDying(),
    "publish-first": publishing.PublishFirst(),
    "fetch": fetching.Fetch(),
    "fetch-large": fetching.FetchLarge(),
    "fetch-invalid": fetching.FetchInvalid(),
    "fetch-missing": fetching.FetchMissing(),
    "fetch-nothing": fetching.FetchNothing(),
    "wait": fetching.Wait(),
    "wait-in-vain": fetching.WaitInVain(),
    "close": opening.Close(),
    "reap": reaping.Reap(),
}
