"""The base directory (spec/base.md)."""

from __future__ import annotations

from mutation import Edit, Mutant

MUTANTS = [
    Mutant(
        "BASE-1",
        "a directory below the one that is named",
        Edit(
            "Place.here",
            "explicit or _default()",
            'f"{explicit}/pubsub" if explicit else _default()',
        ),
    ),
    Mutant(
        "BASE-2",
        "/dev/shm is not looked at",
        Edit("_has_shared_memory", 'stat.S_ISDIR(os.stat("/dev/shm").st_mode)', "False"),
    ),
    Mutant(
        "BASE-3",
        "open to readers",
        Edit(
            "Place._make_directories",
            "_make_directory(self.path, 0o700)",
            "_make_directory(self.path, 0o755)",
        ),
    ),
    Mutant(
        "BASE-3",
        "takes one /. from the end of its path",
        Edit(
            "place._place",
            """
            while path.endswith(("/", "/.")) and len(path) > 1:
                path = path[:-1]
            """,
            'path = (path.rstrip("/").removesuffix("/.") or "/")',
        ),
    ),
    Mutant(
        "BASE-4",
        "anybody's default base",
        Edit(
            "Place._trusted",
            "not self.explicit and found.st_uid not in (os.geteuid(), 0)",
            "found.st_uid < 0",
        ),
    ),
    Mutant(
        "BASE-4",
        "trusts the base of the real user",
        Edit("Place._trusted", "os.geteuid()", "os.getuid()"),
    ),
    Mutant(
        "BASE-5",
        "an explicit base may be open to all",
        Edit(
            "Place._trusted",
            "mode & writers and not mode & stat.S_ISVTX",
            "not self.explicit and ...",
        ),
    ),
    Mutant(
        "BASE-7",
        "trusts for ever what it trusted once",
        Edit(
            "_Delivery.find",
            "Base(place.path, place.make())",
            "lists._kept[-1].base if lists._kept[-1] else ...",
        ),
    ),
    Mutant(
        "BASE-8",
        "message files that others may read",
        Edit(
            "Copies._write",
            "self._file.open(staged.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)",
            "self._file.open(staged.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)",
        ),
    ),
    Mutant(
        "BASE-8",
        "who may read in the base may read its messages",
        Edit("Base.message_mode", "self.mode & (self.mode & 0o022) << 1", "self.mode & 0o044"),
    ),
    Mutant(
        "BASE-9",
        "the umask counts",
        Edit("Copies._write", "os.fchmod(file, mode)", "pass"),
    ),
    Mutant(
        "BASE-10",
        "a foreign directory stops everybody (formix-pubsub)",
        Edit(
            "Base.channels",
            "name = _CHANNEL_NAME.fullmatch(entry.name)",
            """
            if entry.name.count("_") >= 2 and not entry.name[-1].isdigit():
                raise OSError(errno.EINVAL, entry.name)
            ...
            """,
        ),
    ),
    Mutant(
        "BASE-11",
        "tmp must be there",
        Edit(
            "Base.make_tmp",
            "os.mkdir(self.tmp, self.directory_mode)",
            "os.lstat(self.tmp); raise FileExistsError",
        ),
    ),
    Mutant(
        "BASE-12",
        "tmp may be a link",
        Edit("Base.make_tmp", "os.lstat(self.tmp)", "os.stat(self.tmp)"),
    ),
    Mutant(
        "BASE-13",
        "makes the base once",
        Edit(
            "Place.make",
            "self._make_directories()",
            """
            if "made" in Place.make.__dict__:
                raise
            Place.make.made = True
            ...
            """,
        ),
    ),
    Mutant(
        "BASE-15",
        "reaches messages by the channel's path",
        Edit(
            "Inbox._open_message",
            "self.hand.file.extend(map(self.hand.open, (name,)))",
            'self.hand.file.open(f"{self.path}/{name}", queue.READ)',
        ),
    ),
    Mutant(
        "BASE-15",
        "lists whatever tmp leads to",
        Edit("reap", "tmp.open(base.tmp, LIST)", "tmp.open(base.tmp, os.O_RDONLY)"),
    ),
    Mutant(
        "BASE-16",
        "leaves a file open that is no message",
        Edit(
            "Inbox._read_message",
            "head, content = read(file[0])",
            """
            try:
                ...
            except InvalidMessage:
                os.dup(file[0])
                raise
            """,
        ),
    ),
    Mutant(
        "BASE-16",
        "leaves the queue open where the link is refused",
        Edit(
            "_Delivery._send_file",
            """
            if error.errno not in _TAKEN:
                raise
            """,
            """
            if error.errno not in _TAKEN:
                os.dup(self._queue[-1])
                raise
            """,
        ),
    ),
    Mutant(
        "BASE-5",
        "trusts for ever the directory that it trusted once",
        Edit(
            "Place._trusted",
            "return stat.S_IMODE(mode)",
            """
            Place._trusted.__dict__[str(found.st_ino)] = True
            ...
            """,
        ),
        Edit(
            "Place._trusted",
            "mode & writers",
            "str(found.st_ino) not in Place._trusted.__dict__ and ...",
        ),
    ),
    Mutant(
        "BASE-8",
        "makes entries for ever with the mode that the base had first",
        Edit(
            "Place._trusted",
            "return stat.S_IMODE(mode)",
            "return Place._trusted.__dict__.setdefault(str(found.st_ino), stat.S_IMODE(mode))",
        ),
    ),
    Mutant(
        "BASE-12",
        "looks at tmp once",
        Edit(
            "Base.make_tmp",
            "os.lstat(self.tmp).st_mode",
            """
            Base.make_tmp.__dict__.get(self.tmp) or Base.make_tmp.__dict__.setdefault(
                self.tmp if stat.S_ISDIR(os.lstat(self.tmp).st_mode) else "",
                os.lstat(self.tmp).st_mode,
            )
            """,
        ),
    ),
    Mutant(
        "BASE-3",
        "open to everybody for a moment",
        Edit(
            "Place._make_directories",
            "_make_directory(self.path, 0o700)",
            """
            _make_directory(self.path, 0o777)
            os.chmod(self.path, 0o700)
            """,
        ),
    ),
    Mutant(
        "BASE-8",
        "message files that others may read for a moment",
        Edit(
            "Copies._write",
            "self._file.open(staged.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)",
            "self._file.open(staged.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)",
        ),
        Edit("Copies._write", "if mode & 0o077: os.fchmod(file, mode)", "os.fchmod(file, mode)"),
    ),
]
