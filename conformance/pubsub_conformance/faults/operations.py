"""All operations that are disturbed."""

from . import publishing, subscribing
from .operation import Operation

OPERATIONS: dict[str, Operation] = {
    "open": subscribing.Open(),
    "open-first": subscribing.OpenFirst(),
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
    "fetch": subscribing.Fetch(),
    "fetch-large": subscribing.FetchLarge(),
    "fetch-invalid": subscribing.FetchInvalid(),
    "fetch-missing": subscribing.FetchMissing(),
    "fetch-nothing": subscribing.FetchNothing(),
    "wait": subscribing.Wait(),
    "wait-in-vain": subscribing.WaitInVain(),
    "close": subscribing.Close(),
    "reap": subscribing.Reap(),
}
