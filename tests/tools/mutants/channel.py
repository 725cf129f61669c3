"""Channels (spec/channel.md)."""

from __future__ import annotations

from mutation import Edit, Mutant

MUTANTS = [
    Mutant(
        "CHAN-1",
        "the parent's process id",
        Edit("Inbox.__init__", "os.getpid()", "os.getppid()"),
    ),
    Mutant(
        "CHAN-2",
        "a FIFO of another name",
        Edit(
            "Base.make_queue",
            'os.mkfifo("queue", mode, dir_fd=directory)',
            'os.mkfifo("inbox", mode, dir_fd=directory)',
        ),
        Edit("Inbox._make", '"queue"', '"inbox"', times=2),
        Edit("Inbox._make", 'f"{self.path}/queue"', 'f"{self.path}/inbox"'),
    ),
    Mutant(
        "CHAN-3",
        "passes over channels with foreign entries",
        Edit(
            "_Delivery._enqueue",
            "opened = self._queue.open(lane.queue, queue.WRITE)",
            """
            ...
            if not all(name.isdigit() or name == "queue" for name in os.listdir(lane.path)):
                return False
            """,
        ),
    ),
    Mutant(
        "CHAN-3",
        "takes every number for the id of a message",
        Edit("inbox.is_message_name", 'r"[1-9][0-9]{0,19}"', 'r"[0-9]+"'),
    ),
    Mutant(
        "CHAN-23",
        "publishes like a bridge",
        Edit(
            "publisher.publish",
            "deliver(Message(topic, data, headers), timeout)",
            """deliver(
                Message(topic, data, headers),
                timeout,
                lambda path: "bridge" not in __import__("os").listdir(path),
            )""",
        ),
    ),
    Mutant(
        "CHAN-4",
        "reapers open queues for reading",
        Edit(
            "_may_be_read",
            "held.open(path, queue.WRITE, dir_fd=at)",
            "os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK, dir_fd=at)); ...",
        ),
    ),
    Mutant(
        "CHAN-5",
        "queues are opened with O_CREAT",
        Edit("queue.WRITE", "os.O_WRONLY", "os.O_CREAT | os.O_WRONLY"),
    ),
    Mutant(
        "CHAN-6",
        "no write end of its own",
        Edit(
            "Inbox._make",
            'self._queue.open("queue", queue.WRITE, dir_fd=directory)',
            "self._queue.open(os.devnull, os.O_WRONLY)",
        ),
    ),
    Mutant(
        "CHAN-7",
        "O_RDWR",
        Edit(
            "Inbox._make",
            'self._queue.open("queue", queue.READ, dir_fd=directory)',
            'self._queue.open("queue", os.O_RDWR | os.O_NONBLOCK, dir_fd=directory)',
        ),
    ),
    Mutant(
        "CHAN-8",
        "inherited on exec",
        Edit(
            "Inbox._make",
            "self._queue.identity = identity(os.fstat(read_end))",
            "os.set_inheritable(read_end, True); ...",
        ),
    ),
    Mutant(
        "CHAN-8",
        "a descriptor is inherited that was moved from the number of a standard file",
        Edit("Descriptors._lifted", "fcntl.F_DUPFD_CLOEXEC", "fcntl.F_DUPFD"),
    ),
    Mutant(
        "CHAN-9",
        "believes the process id in the name (formix-pubsub)",
        Edit(
            "_Delivery._enqueue",
            None,
            """
            try:
                os.kill(int(lane.path.rsplit("_")[-1]), 0)
            except OSError:
                return False
            ...
            """,
        ),
    ),
    Mutant(
        "CHAN-10",
        "visible before it is read (formix-pubsub)",
        Edit(
            "Inbox._make",
            'read_end = self._queue.open("queue", queue.READ, dir_fd=directory)',
            """
            os.rename(name, self.path, src_dir_fd=tmp)
            read_end = self._queue.open(f"{self.path}/queue", queue.READ)
            os.rename(self.path, name, dst_dir_fd=tmp)
            """,
        ),
    ),
    Mutant(
        "CHAN-11",
        "gives up when the rename fails",
        Edit(
            "Channel._open",
            "isinstance(error, (FileNotFoundError, FileExistsError))",
            "isinstance(error, FileExistsError)",
        ),
    ),
    Mutant(
        "CHAN-11",
        "starts again for ever",
        Edit("Channel._open", "range(ATTEMPTS)", "iter(int, 1)"),
    ),
    Mutant(
        "CHAN-12",
        "does not look at what it renamed",
        Edit(
            "Inbox._make",
            'identity(os.lstat(f"{self.path}/queue")) != self._queue.identity',
            'not os.lstat(f"{self.path}/queue")',
        ),
    ),
    Mutant(
        "CHAN-13",
        "renames its directory while it waits",
        Edit(
            "waiting._sleep",
            "poll = select.poll()",
            """
            import os
            for channel, inbox in inboxes.items():
                os.rename(inbox.path, inbox.path + "0")
                inbox.path += "0"
                channel._path = inbox.path
            ...
            """,
        ),
    ),
    Mutant(
        "CHAN-14",
        "leaves what is unread",
        Edit("Inbox.remove", "remove(self._tmp[0], self._claimed)", "None"),
    ),
    Mutant(
        "CHAN-14",
        "leaves a channel that it once saw lost",
        Edit(
            "Inbox.hide",
            None,
            """
            if self._is_lost:
                return None
            ...
            """,
        ),
    ),
    Mutant(
        "CHAN-14",
        "goes on for ever at a directory that it cannot open",
        Edit("remove", "range(ATTEMPTS)", "iter(int, 1)"),
    ),
    Mutant(
        "CHAN-14",
        "gives itself access to a directory only if it cannot open it",
        Edit("_enter", "_allow_emptying(directory)", "pass"),
    ),
    Mutant(
        "CHAN-15",
        "follows links",
        Edit(
            "_enter",
            "os.unlink(entry.name, dir_fd=directory)",
            """
            if entry.is_dir():
                inside = os.open(entry.name, os.O_RDONLY, dir_fd=directory)
                any(os.unlink(found, dir_fd=inside) for found in os.listdir(inside))
                os.close(inside)
            ...
            """,
        ),
        Edit("_open_to_empty", "LIST", "os.O_RDONLY | os.O_DIRECTORY", times=2),
        Edit("reap", "LIST", "os.O_RDONLY | os.O_DIRECTORY"),
    ),
    Mutant(
        "CHAN-16",
        "empties a visible channel",
        Edit(
            "Inbox.hide",
            """
            name = fresh_in_tmp()
            self._claimed = name
            reaper.claim(self.base, self.path, name, self._tmp)
            self._give_back_another(name)
            """,
            """
            self._claimed = os.path.basename(self.path)
            self._tmp.open(self.base.path, os.O_RDONLY)
            """,
        ),
    ),
    Mutant(
        "CHAN-17",
        "gives up at a late link (formix-pubsub)",
        Edit(
            "remove",
            "_empty(at, name, refused)",
            """
            ...
            if not _is_removed(at, name):
                refused.append(OSError(errno.ENOTEMPTY, name))
            """,
        ),
    ),
    Mutant(
        "CHAN-18",
        "reads from whatever descriptor it has",
        Edit("Channel._take_down", "self._inbox = None", "...; self._last = inbox"),
        Edit("Channel._next", "self._opened()", "self._inbox or self._last"),
    ),
    Mutant(
        "CHAN-19",
        "makes the base before it looks at the pattern",
        Edit("Channel.__init__", "check_pattern(topic)", "topic"),
        Edit(
            "Channel._open",
            """
            try:
                reaper.reap()
            except of_system(OSError):
                pass
            """,
            """
            ...
            make()
            check_pattern(self.topic)
            """,
        ),
    ),
    Mutant(
        "CHAN-20",
        "removes whatever has its name",
        Edit("Inbox._is_visible", None, "return True"),
        Edit("Inbox._give_back_another", None, "pass"),
    ),
    Mutant(
        "CHAN-21",
        "needs a descriptor to give up an opening",
        Edit("Inbox.close", "os.unlink(name, dir_fd=self._directory[0])", "pass"),
    ),
    Mutant(
        "CHAN-22",
        "keeps what it has claimed",
        Edit("Inbox._give_back_another", None, "pass"),
    ),
    Mutant(
        "CHAN-12",
        "starts again only once",
        Edit("Channel._open", "range(ATTEMPTS)", "range(2)"),
    ),
    Mutant(
        "CHAN-17",
        "empties a directory three times at most",
        Edit(
            "remove",
            "_empty(at, name, refused)",
            """
            ...
            times = locals().get("times", 0) + 1
            if times == 3:
                refused.append(OSError(errno.ENOTEMPTY, name))
            """,
        ),
    ),
]
