"""All operations that are disturbed, by name."""

from . import closing, fetching, inline, opening, publishing, reaping
from .operation import Operation

OPERATIONS: dict[str, Operation] = {
    "open": opening.Open(),
    "open-first": opening.OpenFirst(),
    "open-cleaned": opening.OpenCleaned(),
    "open-inline": inline.Open(),
    "publish-one": publishing.PublishToOne(),
    "publish-several": publishing.Publish(),
    "publish-large": publishing.PublishLarge(),
    "publish-full": publishing.PublishToFull(),
    "publish-waiting": publishing.PublishWaiting(),
    "publish-dead": publishing.PublishToDead(),
    "publish-cleaned": publishing.PublishCleaned(),
    "publish-closing": publishing.PublishClosing(),
    "publish-vanishing": publishing.PublishVanishing(),
    "publish-dying": publishing.PublishDying(),
    "publish-first": publishing.PublishFirst(),
    "publish-inline": inline.Publish(),
    "publish-kept": inline.PublishKept(),
    "fetch": fetching.Fetch(),
    "fetch-large": fetching.FetchLarge(),
    "fetch-invalid": fetching.FetchInvalid(),
    "fetch-missing": fetching.FetchMissing(),
    "fetch-nothing": fetching.FetchNothing(),
    "fetch-inline": inline.Fetch(),
    "wait": fetching.Wait(),
    "wait-in-vain": fetching.WaitInVain(),
    "wait-inline": inline.Wait(),
    "close": closing.Close(),
    "close-late": closing.CloseLate(),
    "close-swapped": closing.CloseSwapped(),
    "close-inline": inline.Close(),
    "reap": reaping.Reap(),
    "reap-revived": reaping.ReapRevived(),
}
