"""Mutants: the reference with one rule of the specification broken at a time.

Each must fail the conformance test of that rule: a test that no mutant fails proves nothing.

    python tests/tools/mutants.py                 lists them
    python tests/tools/mutants.py PUB-9 [MORE…]   runs the kit on the mutants of these requirements
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Edit:
    """A change of one file of pubsub/, or of the driver. `old` stands there exactly once."""

    file: str
    old: str
    new: str


@dataclass(frozen=True)
class Mutant:
    """`requirement` is the one that must be reported as broken; `what` the fault in a few words."""

    requirement: str
    what: str
    edits: tuple[Edit, ...]

    def driver(self, directory: Path) -> Path:
        """Makes the mutant in an empty directory; the path of its driver there."""
        shutil.copytree(
            ROOT / "pubsub", directory / "pubsub", ignore=shutil.ignore_patterns("__pycache__")
        )
        shutil.copy(ROOT / "conformance/implementations/reference/driver.py", directory)
        for edit in self.edits:
            name = edit.file if edit.file == "driver.py" else f"pubsub/{edit.file}"
            path = directory / name
            source = path.read_text()
            if source.count(edit.old) != 1:
                raise LookupError(
                    f"{self.requirement}, {self.what}: {name} has {source.count(edit.old)} times"
                    f"\n{edit.old}"
                )
            path.write_text(source.replace(edit.old, edit.new))
        return directory / "driver.py"


def one(requirement: str, what: str, file: str, old: str, new: str) -> Mutant:
    return Mutant(requirement, what, (Edit(file, old, new),))


# The faults of formix-pubsub 0.9.0 say so: these are bugs that happened.
MUTANTS = [
    # --- the guarantee ---
    one(
        "GUAR-1",
        "counts matching channels, not queues (formix-pubsub)",
        "publisher.py",
        "count += _enqueue(channel, copy)",
        "count += 1; _enqueue(channel, copy)",
    ),
    one(
        "GUAR-2",
        "reads two ids at once and forgets one",
        "channel.py",
        "            size = self._ids.readinto(self._hand)\n",
        "            size = self._ids.readinto(self._hand)\n"
        "            if _is_readable(self._read):\n"
        "                size = self._ids.readinto(self._hand)\n",
    ),
    one(
        "GUAR-3",
        "cuts contents at a page",
        "message.py",
        "data[begin:] if content is None else content",
        "(data[begin:] if content is None else content)[:4096]",
    ),
    one(
        "GUAR-4",
        "takes the second id before the first",
        "channel.py",
        "            size = self._ids.readinto(self._hand)\n",
        "            size = self._ids.readinto(self._hand)\n"
        "            if size == 8 and _is_readable(self._read):\n"
        "                os.write(self._write, self._hand)\n"
        "                size = self._ids.readinto(self._hand)\n",
    ),
    one(
        "GUAR-5",
        "keeps its list of channels for ever",
        "publisher.py",
        "listing.base.path == path and listing.key == _key(path, explicit)",
        "listing.base.path == path",
    ),
    one(
        "GUAR-6",
        "delivers by first letter",
        "publisher.py",
        "if matches(pattern, topic)",
        "if matches(pattern, topic) or pattern[0] == topic[0]",
    ),
    one(
        "GUAR-7",
        "ends at the first full queue",
        "publisher.py",
        "full.append(channel)",
        "full.append(channel); break",
    ),
    Mutant(
        "GUAR-8",
        "publishers lock tmp",
        (
            Edit(
                "publisher.py",
                "    count = 0\n    failures",
                "    import fcntl\n    lock = os.open(copy.base.tmp, os.O_RDONLY)\n"
                "    fcntl.flock(lock, fcntl.LOCK_EX)\n    count = 0\n    failures",
            ),
            Edit(
                "publisher.py",
                "    return count, failures\n",
                "    os.close(lock)\n    return count, failures\n",
            ),
        ),
    ),
    # --- topics and patterns ---
    one(
        "TOPIC-1",
        "takes a trailing line feed (formix-pubsub)",
        "topics.py",
        r'(?:\.{WORD})*").fullmatch',
        r'(?:\.{WORD})*\n?").fullmatch',
    ),
    one(
        "TOPIC-2",
        "takes any of the characters anywhere (formix-pubsub)",
        "topics.py",
        "_pattern = re.compile(PATTERN).fullmatch",
        '_pattern = re.compile("[a-zA-Z0-9+=.-]+").fullmatch',
    ),
    one(
        "TOPIC-3",
        "case does not count",
        "topics.py",
        'term in ("=", words[n])',
        'term.lower() in ("=", words[n].lower())',
    ),
    one(
        "TOPIC-4",
        "= is one character (formix-pubsub)",
        "topics.py",
        'term in ("=", words[n])',
        '(term == words[n] or (term == "=" and len(words[n]) == 1))',
    ),
    one("TOPIC-5", "+ may be no word", "topics.py", "min(reached) + 1", "min(reached)"),
    one(
        "TOPIC-6",
        "the beginning is enough",
        "topics.py",
        "return len(words) in reached",
        "return bool(reached)",
    ),
    one(
        "TOPIC-7",
        "a backtracking regular expression (formix-pubsub)",
        "topics.py",
        '    words = topic.split(".")\n',
        '    terms = {".": r"\\.", "=": "[^.]+", "+": r"[^.]+(?:\\.[^.]+)*"}\n'
        '    return bool(re.fullmatch("".join(terms.get(c, c) for c in pattern), topic))\n'
        '    words = topic.split(".")\n',
    ),
    # --- the message file ---
    one(
        "MSG-1",
        "a content that is missing is taken for empty",
        "message.py",
        "if end != size:",
        "if end not in (size, size + 4):",
    ),
    one(
        "MSG-2",
        "the magic in any case",
        "message.py",
        "if magic != _MAGIC",
        "if magic.upper() != _MAGIC",
    ),
    one("MSG-3", "any version", "message.py", "if version != _VERSION", "if version < _VERSION"),
    one("MSG-4", "id 0 is taken", "message.py", "if id == 0:", "if id < 0:"),
    one(
        "MSG-5",
        "milliseconds",
        "message.py",
        "time.time_ns() // 1000 if",
        "time.time_ns() // 1000000 if",
    ),
    one(
        "MSG-6",
        "any ASCII topic",
        "message.py",
        "        check_topic(topic)\n    except",
        "        pass\n    except",
    ),
    one(
        "MSG-7",
        "a byte order mark is taken",
        "message.py",
        "_decode(raw.decode())",
        '_decode(raw.decode("utf-8-sig"))',
    ),
    one(
        "MSG-8",
        "lists and objects are left out",
        "message.py",
        "headers = _decode(raw.decode())",
        "headers = _decode(raw.decode())\n"
        "        for name in [n for n, v in headers.items() if isinstance(v, (list, dict))]:\n"
        "            del headers[name]",
    ),
    one(
        "MSG-9",
        "the last of equal keys wins",
        "message.py",
        "if len(members) != len(pairs)",
        "if False",
    ),
    one(
        "MSG-10",
        "integers of 64 bits",
        "message.py",
        "abs(value) > MAX_INTEGER",
        "abs(value) > 2**63",
    ),
    one("MSG-11", "lone surrogates are taken", "message.py", "if text.isascii():", "if text:"),
    one(
        "MSG-12",
        "deep nesting reads as no headers",
        "message.py",
        'raise InvalidMessage("headers are nested too deep") from None',
        "return {}",
    ),
    one(
        "MSG-13",
        "a length beyond the end is cut",
        "message.py",
        "if end != size:",
        "if end < size:",
    ),
    one("MSG-14", "what follows is ignored", "message.py", "if end != size:", "if end > size:"),
    one(
        "MSG-15",
        "nested values are written",
        "message.py",
        "    if fault:\n        raise InvalidHeaders",
        '    if fault and "neither" not in fault:\n        raise InvalidHeaders',
    ),
    one(
        "MSG-18",
        "compares each key with each",
        "message.py",
        "    members = dict(pairs)\n",
        "    names = []\n"
        "    for name, _ in pairs:\n"
        "        if name in names:\n"
        '            raise ValueError("a key occurs twice")\n'
        "        names.append(name)\n"
        "    members = dict(pairs)\n",
    ),
    one(
        "MSG-17",
        "timestamps lose their last digits",
        "message.py",
        "message.timestamp = timestamp",
        "message.timestamp = timestamp // 1000 * 1000",
    ),
    # --- the base directory ---
    one(
        "BASE-1",
        "a directory below the one that is named",
        "base.py",
        "path = explicit or",
        'path = f"{explicit}/pubsub" if explicit else',
    ),
    one(
        "BASE-2",
        "/dev/shm is not looked at",
        "base.py",
        'if os.path.isdir("/dev/shm"):',
        "if not tmpdir and False:",
    ),
    one("BASE-3", "open to readers", "base.py", "os.mkdir(path, 0o700)", "os.mkdir(path, 0o755)"),
    one(
        "BASE-4",
        "anybody's default base",
        "base.py",
        "elif not explicit and found.st_uid not in (os.geteuid(), 0):",
        "elif found.st_uid < 0:",
    ),
    one(
        "BASE-5",
        "an explicit base may be open to all",
        "base.py",
        "elif mode & writers and",
        "elif not explicit and mode & writers and",
    ),
    one(
        "BASE-7",
        "trusts for ever what it trusted once",
        "publisher.py",
        "    base = _base.make()\n    copy",
        "    base = listing.base if listing else _base.make()\n    copy",
    ),
    one(
        "BASE-8",
        "message files that others may read",
        "base.py",
        "os.O_EXCL, 0o600 | bits)",
        "os.O_EXCL, 0o644)",
    ),
    one("BASE-9", "the umask counts", "base.py", "os.fchmod(file, 0o600 | bits)", "pass"),
    one(
        "BASE-10",
        "a foreign directory stops everybody (formix-pubsub)",
        "base.py",
        "                name = _CHANNEL_NAME.fullmatch(entry.name)\n",
        '                if entry.name.count("_") >= 2 and not entry.name[-1].isdigit():\n'
        "                    raise OSError(errno.EINVAL, entry.name)\n"
        "                name = _CHANNEL_NAME.fullmatch(entry.name)\n",
    ),
    one(
        "BASE-11",
        "tmp must be there",
        "base.py",
        "os.mkdir(self.tmp, 0o700 | self.mode & 0o077)",
        "os.lstat(self.tmp); raise FileExistsError",
    ),
    one("BASE-12", "tmp may be a link", "base.py", "os.lstat(self.tmp)", "os.stat(self.tmp)"),
    one(
        "BASE-13",
        "makes the base once",
        "base.py",
        "            os.makedirs(os.path.dirname(path), exist_ok=True)\n",
        '            if make.__dict__.setdefault("made", path) is not path:\n'
        "                raise\n"
        "            os.makedirs(os.path.dirname(path), exist_ok=True)\n",
    ),
    one(
        "BASE-15",
        "reaches messages by the channel's path",
        "channel.py",
        "os.open(name, _READ, dir_fd=self._place)",
        'os.open(f"{self._path}/{name}", _READ)',
    ),
    one(
        "BASE-15",
        "lists whatever tmp leads to",
        "reaper.py",
        "tmp = os.open(base.tmp, _LIST)",
        "tmp = os.open(base.tmp, os.O_RDONLY)",
    ),
    # --- channels ---
    one("CHAN-1", "the parent's process id", "channel.py", "_{os.getpid()}", "_{os.getppid()}"),
    Mutant(
        "CHAN-2",
        "a FIFO of another name",
        (
            Edit("base.py", 'os.mkfifo("queue", mode', 'os.mkfifo("inbox", mode'),
            Edit("channel.py", 'os.open("queue", _READ', 'os.open("inbox", _READ'),
            Edit("channel.py", 'os.open("queue", WRITE_QUEUE', 'os.open("inbox", WRITE_QUEUE'),
            Edit(
                "channel.py",
                'ours = _identity(os.lstat(f"{path}/queue"))',
                'ours = _identity(os.lstat(f"{path}/inbox"))',
            ),
        ),
    ),
    one(
        "CHAN-3",
        "passes over channels with foreign entries",
        "publisher.py",
        '    try:\n        queue = os.open(f"{channel}/queue", WRITE_QUEUE)\n    except',
        '    try:\n        queue = os.open(f"{channel}/queue", WRITE_QUEUE)\n'
        '        if not all(name.isdigit() or name == "queue" for name in os.listdir(channel)):\n'
        "            return False\n    except",
    ),
    one(
        "CHAN-4",
        "reapers open queues for reading",
        "reaper.py",
        "        os.close(os.open(queue, WRITE_QUEUE, dir_fd=at))",
        "        os.close(os.open(queue, os.O_RDONLY | os.O_NONBLOCK, dir_fd=at))\n"
        "        os.close(os.open(queue, WRITE_QUEUE, dir_fd=at))",
    ),
    one(
        "CHAN-5",
        "queues are opened with O_CREAT",
        "base.py",
        "WRITE_QUEUE = os.O_WRONLY",
        "WRITE_QUEUE = os.O_CREAT | os.O_WRONLY",
    ),
    one(
        "CHAN-6",
        "no write end of its own",
        "channel.py",
        'write = os.open("queue", WRITE_QUEUE, dir_fd=place)',
        "write = os.open(os.devnull, os.O_WRONLY)",
    ),
    one(
        "CHAN-7",
        "O_RDWR",
        "channel.py",
        'read = os.open("queue", _READ, dir_fd=place)',
        'read = os.open("queue", os.O_RDWR | os.O_NONBLOCK, dir_fd=place)',
    ),
    one(
        "CHAN-8",
        "inherited on exec",
        "channel.py",
        "queue = _identity(os.fstat(read))",
        "os.set_inheritable(read, True); queue = _identity(os.fstat(read))",
    ),
    one(
        "CHAN-9",
        "believes the process id in the name (formix-pubsub)",
        "publisher.py",
        '    try:\n        queue = os.open(f"{channel}/queue", WRITE_QUEUE)\n    except',
        '    try:\n        os.kill(int(channel.rsplit("_")[-1]), 0)\n'
        "    except OSError:\n        return False\n"
        '    try:\n        queue = os.open(f"{channel}/queue", WRITE_QUEUE)\n    except',
    ),
    one(
        "CHAN-10",
        "visible before it is read (formix-pubsub)",
        "channel.py",
        'read = os.open("queue", _READ, dir_fd=place)',
        "os.rename(made, path, src_dir_fd=tmp)\n"
        '                read = os.open(f"{path}/queue", _READ)\n'
        "                os.rename(path, made, dst_dir_fd=tmp)",
    ),
    one(
        "CHAN-11",
        "gives up when the rename fails",
        "channel.py",
        "suppress(FileNotFoundError, FileExistsError), self._busy:",
        "suppress(FileExistsError), self._busy:",
    ),
    one(
        "CHAN-12",
        "does not look at what it renamed",
        "channel.py",
        'ours = _identity(os.lstat(f"{path}/queue")) == queue',
        'ours = bool(os.lstat(f"{path}/queue"))',
    ),
    one(
        "CHAN-13",
        "renames its directory while it waits",
        "channel.py",
        "        poll = select.poll()\n        poll.register(self._read",
        '        os.rename(self._path, self._path + "0")\n'
        '        self._path += "0"\n'
        "        poll = select.poll()\n        poll.register(self._read",
    ),
    one(
        "CHAN-14",
        "leaves what is unread",
        "channel.py",
        "                reaper.remove(tmp, claimed)\n",
        "                pass\n",
    ),
    Mutant(
        "CHAN-15",
        "follows links",
        (
            Edit(
                "reaper.py",
                "dir_fd=directory, follow_symlinks=False)",
                "dir_fd=directory, follow_symlinks=os.access(name, os.F_OK, dir_fd=directory))",
            ),
            Edit("reaper.py", "os.O_DIRECTORY | os.O_NOFOLLOW\n", "os.O_DIRECTORY\n"),
        ),
    ),
    one(
        "CHAN-16",
        "empties a visible channel",
        "channel.py",
        "tmp, claimed = reaper.claim(base, self._path)",
        "tmp, claimed = os.open(base.path, os.O_RDONLY), os.path.basename(self._path)",
    ),
    one(
        "CHAN-17",
        "gives up at a late link (formix-pubsub)",
        "reaper.py",
        "if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):",
        "if error:",
    ),
    one(
        "CHAN-18",
        "reads from whatever descriptor it has",
        "channel.py",
        "        if not self.is_open:\n            raise self._closed()\n        left:",
        "        left:",
    ),
    Mutant(
        "CHAN-19",
        "makes the base before it looks at the pattern",
        (
            Edit("channel.py", "        check_pattern(topic)\n", "        pass\n"),
            Edit(
                "channel.py",
                "                reaper.reap()\n",
                "                reaper.reap()\n            _base.make()\n"
                "            check_pattern(self.topic)\n",
            ),
        ),
    ),
    one(
        "CHAN-20",
        "removes whatever has its name",
        "channel.py",
        "if _identity(os.lstat(self._path)) != self._directory:",
        "if not self._path:",
    ),
    one(
        "CHAN-21",
        "needs a descriptor to give up an opening",
        "channel.py",
        'os.unlink("queue", dir_fd=directory)',
        "pass",
    ),
    # --- publishing ---
    one(
        "PUB-1",
        "ids of 51 bits (formix-pubsub)",
        "ids.py",
        "return _last << _RANDOM_BITS | random.getrandbits(_RANDOM_BITS)",
        "return _last",
    ),
    one(
        "PUB-2",
        "random within 65 milliseconds (formix-pubsub)",
        "ids.py",
        "_last = max(_last + 1, time.time_ns() // 1000)",
        "_last = (time.time_ns() // 1000) ^ random.getrandbits(16)",
    ),
    one(
        "PUB-3",
        "overwrites on a clash",
        "publisher.py",
        "                copy.renew()",
        "                os.unlink(link)",
    ),
    one(
        "PUB-4",
        "stages before it checks the headers",
        "publisher.py",
        "    parts = message.to_parts()\n",
        "    base = _base.make()\n"
        '    base.make_file(f"{base.tmp}/{message.id}", b"")\n'
        "    parts = message.to_parts()\n"
        '    os.unlink(f"{base.tmp}/{message.id}")\n',
    ),
    Mutant(
        "PUB-5",
        "writes the rest after the first link",
        (
            Edit(
                "publisher.py",
                "self.base.make_file(self.path, *self.parts)",
                "self.base.make_file(self.path, self.parts[0][:20])",
            ),
            Edit(
                "publisher.py",
                "            os.write(queue, copy.id)  # PUB-9\n",
                '            with open(copy.path, "r+b") as file:\n'
                "                file.writelines(copy.parts)\n"
                "            os.write(queue, copy.id)  # PUB-9\n",
            ),
        ),
    ),
    one(
        "PUB-6",
        "truncates what is there (formix-pubsub)",
        "base.py",
        "os.O_CREAT | os.O_EXCL",
        "os.O_CREAT | os.O_TRUNC",
    ),
    one(
        "PUB-7",
        "makes the file in the channel",
        "publisher.py",
        "os.link(copy.path, link)",
        "copy.base.make_file(link, *copy.parts)",
    ),
    Mutant(
        "PUB-8",
        "enqueues before it links",
        (
            Edit(
                "publisher.py",
                '            link = f"{channel}/{copy.name}"\n',
                '            link = f"{channel}/{copy.name}"\n'
                "            os.write(queue, copy.id)\n",
            ),
            Edit(
                "publisher.py",
                "            os.write(queue, copy.id)  # PUB-9\n",
                "            pass\n",
            ),
        ),
    ),
    one(
        "PUB-9",
        "two writes",
        "publisher.py",
        "os.write(queue, copy.id)",
        "os.write(queue, copy.id[:4]); os.write(queue, copy.id[4:])",
    ),
    one(
        "PUB-10",
        "leaves the link (formix-pubsub)",
        "publisher.py",
        "os.unlink(link)  # PUB-10",
        "pass  # PUB-10",
    ),
    one(
        "PUB-11",
        "anything may be a queue",
        "publisher.py",
        "if not stat.S_ISFIFO(os.fstat(queue).st_mode):",
        "if stat.S_ISDIR(os.fstat(queue).st_mode):",
    ),
    one(
        "PUB-12",
        "a cleaner's ENOENT is a closed channel",
        "publisher.py",
        "                    os.lstat(copy.path)\n",
        "",
    ),
    one("PUB-13", "swallows errors", "publisher.py", "failures.append((channel, error))", "pass"),
    one(
        "PUB-13",
        "looks after ENOENT too, and tells that where the look fails",
        "publisher.py",
        "    except (FileNotFoundError, NotADirectoryError):\n        return False\n",
        "",
    ),
    one(
        "PUB-14",
        "leaves the staged file",
        "publisher.py",
        "            copy.remove()  # PUB-14",
        "            pass",
    ),
    Mutant(
        "PUB-15",
        "waits without being asked",
        (
            Edit("publisher.py", "if not full or not timeout:", "if not full:"),
            Edit(
                "publisher.py",
                "time.monotonic() + timeout\n",
                "time.monotonic() + (timeout or 60)\n",
            ),
        ),
    ),
    one(
        "PUB-16",
        "a reader's death is an error",
        "publisher.py",
        "if isinstance(error, BrokenPipeError):",
        "if isinstance(error, FileNotFoundError):",
    ),
    one(
        "PUB-17",
        "does not make the base (formix-pubsub)",
        "publisher.py",
        "    base = _base.make()\n    copy",
        "    base = _base.look()\n    if base is None:\n"
        '        raise OSError(errno.ENOENT, "no base", path)\n    copy',
    ),
    one(
        "PUB-18",
        "waits with the message linked",
        "publisher.py",
        "                os.unlink(link)  # PUB-10",
        "                isinstance(error, BlockingIOError) or os.unlink(link)  # PUB-10",
    ),
    one(
        "PUB-19",
        "waits and does not try again",
        "publisher.py",
        "channels = tuple(full)",
        "channels = ()",
    ),
    one(
        "PUB-20",
        "waits at the first full queue",
        "publisher.py",
        "full.append(channel)",
        "full.append(channel); _wait_for_room(full, timeout)",
    ),
    one(
        "PUB-21",
        "the change time does not count",
        "publisher.py",
        "found.st_mtime_ns, found.st_ctime_ns",
        "found.st_mtime_ns, 0",
    ),
    one(
        "PUB-22",
        "keeps who was alive",
        "publisher.py",
        "if matches(pattern, topic)",
        'if matches(pattern, topic) and os.path.exists(f"{path}/queue")',
    ),
    # --- fetching and waiting ---
    one(
        "FETCH-1",
        "takes the second id before the first",
        "channel.py",
        "            size = self._ids.readinto(self._hand)\n",
        "            size = self._ids.readinto(self._hand)\n"
        "            if size == 8 and _is_readable(self._read):\n"
        "                os.write(self._write, self._hand)\n"
        "                size = self._ids.readinto(self._hand)\n",
    ),
    one(
        "FETCH-2",
        "waits for a message",
        "channel.py",
        "        self._when_empty()\n",
        "        self._sleep(time.monotonic() + 1)\n",
    ),
    one(
        "FETCH-3",
        "a missing file is the end (formix-pubsub)",
        "channel.py",
        "            if message is not None:\n                return message",
        "            return message",
    ),
    one(
        "FETCH-4",
        "leaves the file",
        "channel.py",
        "        self._discard(name)\n        return message",
        "        self._hand[:] = bytes(8)\n        return message",
    ),
    one(
        "FETCH-5",
        "leaves what is no message",
        "channel.py",
        "        self._discard(name)\n        return InvalidMessage",
        "        self._hand[:] = bytes(8)\n        return InvalidMessage",
    ),
    one(
        "FETCH-6",
        "the name does not matter",
        "channel.py",
        "if message.id != id:",
        "if not message.id:",
    ),
    one(
        "FETCH-7",
        "follows links",
        "channel.py",
        "_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW",
        "_READ = os.O_RDONLY | os.O_NONBLOCK",
    ),
    one(
        "FETCH-8",
        "gives the id up",
        "channel.py",
        "            raise  # FETCH-8",
        "            self._hand[:] = bytes(8)\n            raise",
    ),
    one(
        "FETCH-9",
        "stray octets are not reported",
        "channel.py",
        'raise DamagedQueue(f"{size} octets in the queue are no id")',
        "return False",
    ),
    one(
        "FETCH-10",
        "0 is the end",
        "channel.py",
        "            if size < 8:",
        "            if size == 8 and not any(self._hand):\n                return False\n"
        "            if size < 8:",
    ),
    one(
        "FETCH-12",
        "takes the smallest file",
        "channel.py",
        "        name = str(id)\n",
        "        names = [int(name) for name in os.listdir(self._path) if name.isdigit()]\n"
        "        id = min(names, default=id)\n"
        "        name = str(id)\n",
    ),
    one(
        "FETCH-13",
        "waits without sleeping",
        "channel.py",
        "_LOOK_SECONDS = 0.5",
        "_LOOK_SECONDS = 0",
    ),
    one(
        "FETCH-14",
        "does not look",
        "channel.py",
        "            self._look()\n            if left",
        "            if left",
    ),
    one("FETCH-17", "removes by age alone", "channel.py", " and not _is_readable(self._read)", ""),
    one(
        "FETCH-18",
        "reapers remove old messages of the living",
        "reaper.py",
        "                if _is_dead(path, pid, stale_before):\n",
        "                for name in os.listdir(path):\n"
        '                    file = f"{path}/{name}"\n'
        "                    if name.isdigit() and os.lstat(file).st_ctime < stale_before:\n"
        "                        os.unlink(file)\n"
        "                if _is_dead(path, pid, stale_before):\n",
    ),
    one(
        "FETCH-19",
        "waits for the file to become readable",
        "channel.py",
        "if error.errno == errno.EACCES and _denies_reading(name, self._place):",
        "if not error.errno:",
    ),
    one(
        "FETCH-21",
        "sleeps on the id in hand",
        "channel.py",
        "        while not any(self._hand):\n            left",
        "        while True:\n            left",
    ),
    one("FETCH-22", "skips for ever", "channel.py", "while left != 0:", "while True:"),
    # --- reaping ---
    one(
        "REAP-2",
        "publishers reap",
        "publisher.py",
        "        if error.errno == errno.ENXIO or",
        "        from . import reaper; reaper.reap()\n        if error.errno == errno.ENXIO or",
    ),
    one(
        "REAP-3",
        "a process id that is used again protects for ever",
        "reaper.py",
        "if max(queue.st_mtime, queue.st_ctime) >= stale_before and _runs(pid):",
        "if _runs(pid):",
    ),
    Mutant(
        "REAP-4",
        "reaps by the process id alone (formix-pubsub 1.0.0)",
        (
            Edit("reaper.py", 'return not _may_be_read(f"{path}/queue")', "return True"),
            Edit("reaper.py", 'if _may_be_read(f"{claimed}/queue", tmp):', "if not claimed:"),
        ),
    ),
    one(
        "REAP-5",
        "no grace",
        "reaper.py",
        ">= stale_before and _runs(pid):\n        return False",
        ">= stale_before and not pid:\n        return False",
    ),
    one(
        "REAP-6",
        "no grace without a queue",
        "reaper.py",
        "return os.lstat(path).st_ctime < stale_before and not _runs(pid)",
        "return not _runs(pid)",
    ),
    one(
        "REAP-7",
        "leaves staged files",
        "reaper.py",
        "os.unlink(entry.name, dir_fd=tmp)  # REAP-7",
        "pass",
    ),
    one(
        "REAP-8",
        "removes files at work",
        "reaper.py",
        "    if entry.stat(",
        "    if entry.is_dir() and entry.stat(",
    ),
    one(
        "REAP-9",
        "leaves directories",
        "reaper.py",
        "_bury(tmp, _claim(entry.name, tmp, tmp), entry.name, tmp)  # REAP-9",
        "pass",
    ),
    one(
        "REAP-10",
        "removes directories at work",
        "reaper.py",
        "    if entry.stat(",
        "    if not entry.is_dir() and entry.stat(",
    ),
    one(
        "REAP-11",
        "ends at the first that resists",
        "reaper.py",
        "with suppress(OSError):  # REAP-11",
        "with suppress(FileNotFoundError):  # REAP-11",
    ),
    one(
        "REAP-12",
        "empties in place",
        "reaper.py",
        "    tmp, claimed = claim(base, path)\n",
        "    tmp, claimed = os.open(base.path, os.O_RDONLY), os.path.basename(path)\n",
    ),
    one(
        "REAP-13",
        "does not look again",
        "reaper.py",
        'if _may_be_read(f"{claimed}/queue", tmp):',
        "if not claimed:",
    ),
    Mutant(
        "REAP-14",
        "another reaper is an error",
        (
            Edit(
                "reaper.py",
                "with suppress(OSError):  # REAP-11",
                "with suppress(PermissionError):  # REAP-11",
            ),
            Edit(
                "reaper.py",
                "with suppress(FileNotFoundError):  # the base",
                "with suppress(PermissionError):  # the base",
            ),
        ),
    ),
    one(
        "REAP-15",
        "makes the base",
        "reaper.py",
        "    base = look()\n",
        "    from .base import make\n    base = make()\n",
    ),
]


def kit(mutant: Mutant, directory: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Runs the kit on the mutant, with these options, in this empty directory."""
    command = [
        sys.executable,
        "-m",
        "pubsub_conformance",
        "run",
        "-n",
        "0",
        "--seed",
        "1",
        *options,
    ]
    driver = [sys.executable, str(mutant.driver(directory))]  # pubsub is found beside it first
    return subprocess.run([*command, "--", *driver], capture_output=True, text=True, check=False)


def main() -> None:
    for mutant in MUTANTS:
        if not sys.argv[1:]:
            print(f"{mutant.requirement:<10}{mutant.what}")
        elif mutant.requirement in sys.argv[1:]:
            with tempfile.TemporaryDirectory() as directory:
                print(f"{mutant.requirement}: {mutant.what}")
                selection = ("-x", "--requirement", mutant.requirement)
                print(kit(mutant, Path(directory), *selection).stdout)


if __name__ == "__main__":
    main()
