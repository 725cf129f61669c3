"""Reaping (spec/reap.md)."""

from __future__ import annotations

from mutation import Edit, Mutant

MUTANTS = [
    Mutant(
        "REAP-2",
        "publishers reap",
        Edit(
            "_Delivery._enqueue",
            """
            if error.errno == errno.ENXIO or not is_of_kind(lane.queue, stat.S_ISFIFO):
                return False
            """,
            """
            from . import reaper
            reaper.reap()
            ...
            """,
        ),
    ),
    Mutant(
        "REAP-3",
        "a process id that is used again protects for ever",
        Edit(
            "_is_dead",
            "changed >= stale_before and runs[pid] and not _is_of_an_earlier_process(pid, changed)",
            "runs[pid]",
        ),
    ),
    Mutant(
        "REAP-4",
        "reaps by the process id alone (formix-pubsub 1.0.0)",
        Edit("_is_dead", 'not _may_be_read(f"{path}/queue")', "True"),
        Edit("_bury", '_may_be_read(f"{claimed}/queue", tmp)', "not claimed"),
    ),
    Mutant(
        "REAP-5",
        "no grace",
        Edit(
            "_is_dead",
            "changed >= stale_before and runs[pid] and not _is_of_an_earlier_process(pid, changed)",
            "changed >= stale_before and not pid",
        ),
    ),
    Mutant(
        "REAP-5",
        "reads the state of a process behind the first parenthesis",
        Edit("_is_zombie", 'status.rpartition(b")")', 'status.partition(b")")'),
    ),
    Mutant(
        "REAP-6",
        "no grace without a queue",
        Edit(
            "_is_dead",
            "os.lstat(path).st_ctime < stale_before and not runs[pid]",
            "not runs[pid]",
        ),
    ),
    Mutant(
        "REAP-6",
        "does not ask whether the process runs",
        Edit(
            "_is_dead",
            "os.lstat(path).st_ctime < stale_before and not runs[pid]",
            "os.lstat(path).st_ctime < stale_before",
        ),
    ),
    Mutant(
        "REAP-7",
        "leaves staged files",
        Edit("_reap_staged", "os.unlink(entry.name, dir_fd=tmp)", "pass"),
    ),
    Mutant(
        "REAP-8",
        "removes files at work",
        Edit(
            "_reap_staged",
            "entry.stat(follow_symlinks=False).st_ctime >= stale_before",
            "entry.is_dir() and ...",
        ),
    ),
    Mutant(
        "REAP-9",
        "leaves directories",
        Edit(
            "_reap_staged",
            """
            try:
                os.rename(entry.name, claimed, src_dir_fd=tmp, dst_dir_fd=tmp)
            except of_system(OSError) as error:
                if error.errno != errno.EXDEV:
                    raise
                _remove_in_place(entry.name, tmp)
            else:
                _bury(tmp, claimed, entry.name, tmp)
            """,
            "pass",
        ),
    ),
    Mutant(
        "REAP-10",
        "removes directories at work",
        Edit(
            "_reap_staged",
            "entry.stat(follow_symlinks=False).st_ctime >= stale_before",
            "not entry.is_dir() and ...",
        ),
    ),
    Mutant(
        "REAP-11",
        "ends at the first that resists",
        Edit("reap", "of_system(OSError)", "of_system(FileNotFoundError)"),
    ),
    Mutant(
        "REAP-12",
        "empties in place",
        Edit(
            "_reap_directory",
            "claim(base, path, name, tmp)",
            """
            name = os.path.basename(path)
            tmp.open(base.path, os.O_RDONLY)
            """,
        ),
    ),
    Mutant(
        "REAP-13",
        "does not look again",
        Edit("_bury", '_may_be_read(f"{claimed}/queue", tmp)', "not claimed"),
    ),
    Mutant(
        "REAP-14",
        "another reaper is an error",
        Edit("reap", "of_system(FileNotFoundError)", "of_system(PermissionError)"),
        Edit("reap", "of_system(OSError)", "of_system(PermissionError)"),
    ),
    Mutant(
        "REAP-15",
        "makes the base",
        Edit("reap", "base = look()", "from .base import make; base = make()"),
    ),
    Mutant(
        "REAP-16",
        "its own process id protects for an hour",
        Edit("_is_of_an_earlier_process", None, "return False"),
    ),
    Mutant(
        "REAP-18",
        "leaves what it cannot rename",
        Edit("_remove_in_place", None, "pass"),
    ),
    Mutant(
        "REAP-18",
        "a stack of a thousand levels",
        Edit(
            "_go_down",
            "name = way[-1].inner.pop()",
            """
            ...
            if len(way) == 1000:
                raise RecursionError
            """,
        ),
    ),
    Mutant(
        "REAP-3",
        "grace for two hours",
        Edit("base.STALE_AGE", "3600.0", "7200.0"),
    ),
    Mutant(
        "REAP-5",
        "grace for half an hour",
        Edit("base.STALE_AGE", "3600.0", "1800.0"),
    ),
    Mutant(
        "REAP-7",
        "counts from the st_mtime, too",
        Edit(
            "_reap_staged",
            "entry.stat(follow_symlinks=False).st_ctime >= stale_before",
            "max(entry.stat(follow_symlinks=False)[8:10]) >= stale_before",
        ),
    ),
    Mutant(
        "REAP-8",
        "an age in whole minutes",
        Edit("reap", "number(stale_age, 'stale_age')", "number(stale_age, 'stale_age') // 60 * 60"),
    ),
    Mutant(
        "REAP-9",
        "nothing is as old as a day",
        Edit("reap", "number(stale_age, 'stale_age')", "... if stale_age < 86400 else 10**10"),
    ),
    Mutant(
        "REAP-10",
        "an age of 32 bits",
        Edit("reap", "number(stale_age, 'stale_age')", "... % 2**32"),
    ),
    Mutant(
        "REAP-6",
        "an age without its sign",
        Edit(
            "_is_dead",
            "os.lstat(path).st_ctime < stale_before and not runs[pid]",
            """
            (
                abs(wall_clock() - os.lstat(path).st_ctime) > wall_clock() - stale_before
                and not runs[pid]
            )
            """,
        ),
    ),
    Mutant(
        "REAP-3",
        "asks once whether a process runs",
        Edit("reap", "_Processes()", "reap.__dict__.setdefault('runs', _Processes())"),
    ),
    Mutant(
        "REAP-5",
        "takes a time without a fraction for exact",
        Edit(
            "_is_of_an_earlier_process",
            "_TICK_SECONDS if changed % 1 else _COARSE_SECONDS",
            "_TICK_SECONDS",
        ),
    ),
    Mutant(
        "REAP-11",
        "ends where there is no room to claim a channel",
        Edit(
            "_reap_directory",
            "raise",
            """
            if error.errno == errno.ENOSPC:
                raise RuntimeError("no room") from error
            ...
            """,
        ),
    ),
    Mutant(
        "REAP-3", "at most a thousand channels", Edit("reap", "base.channels()", "(...)[:1000]")
    ),
    Mutant(
        "REAP-7",
        "at most a thousand entries of tmp",
        Edit("_reap_tmp", "entries(tmp)", "(...)[:1000]"),
    ),
]
