"""The message file (message.md): what writers write and what readers accept.

Each rule is tested through every role that it binds. A writer (codec, publisher) is an `encode`, or
a publish into a channel of the kit. A reader (codec, subscriber) is a `decode`, or a fetch of a
file that the kit has put into the driver's channel.
"""
