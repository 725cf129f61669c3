"""Reading a message file that a channel holds (spec/fetch.md, steps 4 and 5)."""

from __future__ import annotations

import os
import stat

from .interruption import of_system
from .message_file import LARGEST_FILE, SMALL, InvalidMessage, check_size, content_offset

_LARGE_FILE = 2**26  # octets; a file of that size that does not fit into memory is given up


def read(file: int) -> tuple[bytes, bytes | None]:
    """The octets of an open message file, a large content apart. Raises InvalidMessage."""
    status = os.fstat(file)
    if not stat.S_ISREG(status.st_mode):  # FETCH-7
        raise InvalidMessage("it is not a regular file")
    size = status.st_size
    if size > LARGEST_FILE:
        raise InvalidMessage(f"{size} octets are too many for a message")
    if size <= SMALL:
        return _read_all(file, size), None
    try:
        head = os.read(file, SMALL)
        begin = content_offset(head)
        check_size(begin, os.pread(file, 4, begin - 4), size)
        if begin > len(head):
            return head + _read_all(file, size - len(head)), None
        os.lseek(file, begin, os.SEEK_SET)
        return head[:begin], _read_all(file, size - begin)
    except of_system(MemoryError) as error:
        if size < _LARGE_FILE:
            raise  # memory may be free later
        raise InvalidMessage("it does not fit into memory") from error


def _read_all(file: int, size: int) -> bytes:
    """The rest of a file, `size` octets of it; of a file that grows, an octet more."""
    data = os.read(file, size + 1)
    if len(data) == size:
        return data
    parts = [data]
    while data and sum(map(len, parts)) <= size:  # a system may read less than it is asked for
        data = os.read(file, size + 1)
        parts.append(data)
    return b"".join(parts)


def denies_reading(name: str, at: int) -> bool:
    """Whether the file itself may not be read, rather than its directory: FETCH-19."""
    try:
        os.stat(name, dir_fd=at, follow_symlinks=False)
    except of_system(OSError):
        return False
    effective = os.access in os.supports_effective_ids
    return not os.access(name, os.R_OK, dir_fd=at, effective_ids=effective)
