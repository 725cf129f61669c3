"""The implementation in C, in builds and on systems that show what a usual run does not."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from pubsub_conformance.driver import Driver, Rejected
from pubsub_conformance.oracle.arrange import let_age
from pubsub_conformance.oracle.base import channel_name
from pubsub_conformance.oracle.message import pack

C = Path(__file__).parents[2] / "conformance/implementations/c"
NO_PROCESS = 2**31 - 1  # larger than any process id, and still a pid_t

# Position n of a listing is the n-th of the entries that are there now: where one is removed after
# it was listed, those behind it move up, and the next is skipped.
SKIPPING_READDIR = r"""
#include <dirent.h>
#include <dlfcn.h>
#define RTLD_NEXT ((void *)-1L)     /* _GNU_SOURCE would give readdir64() another type */
static struct { DIR *dir; long position; } open_now[64];
static struct dirent *next(DIR *dir)
{
    struct dirent *(*real)(DIR *) = (struct dirent *(*)(DIR *))dlsym(RTLD_NEXT, "readdir");
    struct dirent *entry = 0;
    int i = 0;
    while (open_now[i].dir && open_now[i].dir != dir)
        i++;
    open_now[i].dir = dir;
    rewinddir(dir);
    for (long n = open_now[i].position++; n >= 0; n--)
        entry = real(dir);
    return entry;
}
struct dirent *readdir(DIR *dir) { return next(dir); }
struct dirent *readdir64(DIR *dir) { return next(dir); }
int closedir(DIR *dir)
{
    for (int i = 0; i < 64; i++)
        if (open_now[i].dir == dir)
            open_now[i].position = 0;
    return ((int (*)(DIR *))dlsym(RTLD_NEXT, "closedir"))(dir);
}
"""


# A fork that the C library does not see either, as that of a program in another language.
FORKED_CHILD = r"""
#define _GNU_SOURCE
#include "pubsub.h"
#include <assert.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
int main(void)
{
    struct pubsub_channel *channel;
    struct pubsub_message *message;
    size_t count;
    bool ready;
    int status;
    assert(!pubsub_open("a", &channel, NULL));
    assert(!pubsub_publish("a", NULL, "x", 1, 0, &count, NULL) && count == 1);
    long child = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
    if (!child) {
        bool refused = pubsub_fetch(channel, &message, NULL) == PUBSUB_CHANNEL_CLOSED &&
                       pubsub_wait(channel, 0, &ready, NULL) == PUBSUB_CHANNEL_CLOSED &&
                       pubsub_sweep(channel, 0, NULL) == PUBSUB_CHANNEL_CLOSED &&
                       pubsub_close(channel, NULL) == PUBSUB_CHANNEL_CLOSED &&
                       pubsub_channel_fd(channel) == -1;
        pubsub_channel_free(channel);
        _exit(!refused);
    }
    assert(child > 0 && waitpid((pid_t)child, &status, 0) == child && !status);
    assert(!pubsub_fetch(channel, &message, NULL) && message);
    pubsub_message_free(message);
    assert(!pubsub_close(channel, NULL));
    pubsub_channel_free(channel);
    return 0;
}
"""

# A descriptor for a program's own poll(), asked for before the fetch fails ("before") or after it.
WATCHED_QUEUE = r"""
#define _XOPEN_SOURCE 700
#include "pubsub.h"
#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <sys/resource.h>
int main(int argc, char **argv)
{
    struct pubsub_channel *channel;
    struct pubsub_message *message;
    struct pubsub_error error;
    struct rlimit limit, none;
    struct pollfd queue = {.fd = -1, .events = POLLIN};
    size_t count;
    assert(!pubsub_open("a", &channel, NULL));
    assert(!pubsub_publish("a", NULL, "x", 1, 0, &count, NULL) && count == 1);
    if (argc > 1)
        queue.fd = pubsub_channel_fd(channel);
    assert(!getrlimit(RLIMIT_NOFILE, &limit));
    none = limit;
    none.rlim_cur = 3;
    for (int tries = 0; tries < 2; tries++) {
        assert(!setrlimit(RLIMIT_NOFILE, &none));
        assert(pubsub_fetch(channel, &message, &error) == PUBSUB_IO_ERROR);
        assert(error.errnum == EMFILE && !message);
        assert(!setrlimit(RLIMIT_NOFILE, &limit));
        if (queue.fd < 0)
            queue.fd = pubsub_channel_fd(channel);
        assert(queue.fd >= 0 && poll(&queue, 1, 0) == 1);
    }
    assert(!pubsub_fetch(channel, &message, NULL) && message);
    pubsub_message_free(message);
    assert(!pubsub_fetch(channel, &message, NULL) && !message);
    assert(poll(&queue, 1, 0) == 0);
    assert(!pubsub_close(channel, NULL) && pubsub_channel_fd(channel) == -1);
    pubsub_channel_free(channel);
    return 0;
}
"""

# It forks while another thread is in the middle of drawing a fresh name.
FORK_BESIDE_A_THREAD = r"""
#include "internal.h"
#include <assert.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>
static int begun[2], go_on[2], opened;
static int slow_open(int at, const char *path, int flags)
{
    char octet = 0;
    if (!opened++)
        assert(write(begun[1], &octet, 1) == 1 && read(go_on[0], &octet, 1) == 1);
    return ps_open(at, path, flags);
}
#define ps_open slow_open
#include "fresh.c"
static void *draw(void *name)
{
    assert(!ps_fresh_name(name));
    return NULL;
}
int main(void)
{
    struct pubsub_channel *channel;
    pthread_t thread;
    char name[PS_ENTRY] = "", octet = 0;
    size_t count;
    int status;
    assert(!pipe(begun) && !pipe(go_on));
    assert(!pthread_create(&thread, NULL, draw, name));
    assert(read(begun[0], &octet, 1) == 1);
    pid_t child = fork();
    if (!child) {
        alarm(20);                  /* a child that hangs dies of it */
        assert(!pubsub_open("a", &channel, NULL));
        assert(!pubsub_publish("a", NULL, "x", 1, 0, &count, NULL) && count == 1);
        pubsub_channel_free(channel);
        _exit(0);
    }
    assert(child > 0 && waitpid(child, &status, 0) == child && !status);
    assert(write(go_on[1], &octet, 1) == 1 && !pthread_join(thread, NULL));
    return 0;
}
"""


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy to build in."""
    return copy_sources(tmp_path_factory.mktemp("c") / "c")


def copy_sources(copy: Path) -> Path:
    shutil.copytree(C, copy, ignore=shutil.ignore_patterns("*.o", "*.a", "driver", "*-*"))
    return copy


def build(sources: Path, target: str, *settings: str) -> Path:
    if not shutil.which("make") or not shutil.which("cc"):
        pytest.skip("needs make and cc")
    command = ["make", "-s", "-C", str(sources), target, *settings]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (made.returncode, made.stdout, made.stderr) == (0, "", ""), "a warning, or worse"
    return sources / target


def run_program(sources: Path, directory: Path, code: str, *arguments: str) -> None:
    """Build a program with the library, and run it. It has to end with 0."""
    archive = build(sources, "libpubsub.a")
    program, source = directory / "program", directory / "program.c"
    source.write_text(code)
    command = ["cc", f"-I{sources}", "-o", str(program), str(source), str(archive), "-lpthread"]
    subprocess.run(command, check=True)
    subprocess.run([str(program), *arguments], check=True)


def need_sanitizer(compiler: str, names: str) -> None:
    """Skips where a program that is built with it does not even begin."""
    if not shutil.which(compiler):
        pytest.skip(f"needs {compiler}")
    with tempfile.TemporaryDirectory() as directory:
        program = f"{directory}/program"
        command = [compiler, f"-fsanitize={names}", "-o", program, "-xc", "-"]
        code = b"int main(void) { return 0; }"
        if subprocess.run(command, input=code, capture_output=True).returncode or (
            subprocess.run([program], capture_output=True).returncode
        ):
            pytest.skip(f"this {compiler} has no -fsanitize={names}")


@pytest.fixture(scope="module")
def sanitized(sources: Path) -> Path:
    need_sanitizer("cc", "address,undefined")
    return build(sources, "driver-sanitize")


@pytest.fixture(scope="module")
def without_uninitialised_values(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The driver in a build that ends when it uses a value that it never set."""
    need_sanitizer("clang", "memory")
    driver = tmp_path_factory.mktemp("memory") / "driver"
    code = [*sources.glob("driver*.c"), *(sources / name for name in library())]
    # Not optimised: a compiler may drop the use of a value whose effect nobody sees.
    command = ["clang", "-std=c11", "-O0", "-g", "-fsanitize=memory", "-o", str(driver)]
    subprocess.run([*command, *map(str, code), "-lm", "-lpthread"], check=True)
    return driver


def library() -> list[str]:
    (line,) = (
        line for line in (C / "Makefile").read_text().splitlines() if line.startswith("LIBRARY = ")
    )
    return line.split()[2:]


def conforms(driver: Path, *options: str) -> None:
    command = [sys.executable, "-m", "pubsub_conformance", "run", "-n", "0", "--seed", "1"]
    done = subprocess.run(
        [*command, *options, "--", str(driver)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_requests_under_the_sanitizers(sanitized: Path) -> None:
    """The kit's requests meet no undefined behaviour, and no octet beyond the end of a block."""
    conforms(sanitized, "--requirement", "DRIVER-5", "--requirement", "DRIVER-4")


@pytest.mark.parametrize("sizes", [["10"], [10, None], [[10]], [True, 10]])
def test_no_uninitialised_size_is_used(
    without_uninitialised_values: Path, home: Path, sizes: list[object]
) -> None:
    """An element of `sizes` that is no number is not looked at as if it were one (DRIVER-5)."""
    request = {"seq": 2, "op": "produce", "topic": "a", "prefix": "p", "count": 1}
    request |= {"sizes": sizes, "report": "totals"}
    with Driver([str(without_uninitialised_values)], home) as driver:
        reply = driver.raw(json.dumps(request).encode() + b"\n")
    assert reply["error"]["code"] == "bad-request"


@pytest.mark.parametrize("escape", [r"\u", r"\u0", r"\ud80", r"\ud800\u", r"\ud800\udc0", "\\"])
def test_headers_that_end_within_an_escape(sanitized: Path, home: Path, escape: str) -> None:
    """They are refused, and nothing behind their end is read."""
    with Driver([str(sanitized)], home) as driver:
        for headers in ('{"' + escape, '{"k": "' + escape):
            with pytest.raises(Rejected, match="invalid-message"):
                driver.decode(pack(2**60, 0, b"a", headers.encode(), b""))


def preloaded(code: str, directory: Path) -> Mapping[str, str]:
    """An environment in which these functions take the place of the system's."""
    if sys.platform != "linux":
        pytest.skip("needs LD_PRELOAD and the names of Linux's libc")
    source, library = directory / "preloaded.c", directory / "preloaded.so"
    source.write_text(code)
    command = ["cc", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"]
    subprocess.run(command, check=True)
    return {"LD_PRELOAD": str(library)}


def test_reaping_where_listings_skip_entries(sources: Path, tmp_path: Path, home: Path) -> None:
    """What is removed while a directory is listed hides nothing else (REAP-3, REAP-7)."""
    (home / "tmp").mkdir(parents=True)
    for n in range(10):
        (home / "tmp" / str(2**60 + n)).touch()
        channel = home / channel_name("a", NO_PROCESS)
        channel.mkdir()
        os.mkfifo(channel / "queue")
    let_age(*(home / "tmp").iterdir())
    command = [str(build(sources, "driver"))]
    with Driver(command, home, env=preloaded(SKIPPING_READDIR, tmp_path)) as driver:
        driver.reap(0)
    assert [path.name for path in home.iterdir()] == ["tmp"]
    assert not list((home / "tmp").iterdir())


@pytest.mark.parametrize("full", ["mkdirat", "linkat"])
def test_errors_name_place_and_remedy(sources: Path, tmp_path: Path, home: Path, full: str) -> None:
    """Where the disk is full, the text says so, where that is, and what helps."""
    command = [str(build(sources, "driver"))]
    code = f"#include <errno.h>\nint {full}() {{ errno = ENOSPC; return -1; }}"
    home.mkdir()
    with Driver(command, home) as subscriber:
        channel = subscriber.open("a") if full == "linkat" else None
        driver = Driver(command, home, env=preloaded(code, tmp_path))
        with driver, pytest.raises(Rejected) as raised:
            driver.publish("a") if channel else driver.open("a")
    where = f"{home}/{channel.directory.name}/" if channel else f"{home} has a tmp"
    assert raised.value.detail.startswith(where)
    assert "No space left on device; set PUBSUB_HOME to" in raised.value.detail


# Octets of the longest path whose entries, channels with their messages, are within the limit.
LONGEST = os.pathconf("/", "PC_PATH_MAX") - 1 - len(f"/{'c' * 224}/{2**64 - 1}")


def long_path(parent: Path, octets: int) -> Path:
    """A path of so many octets, of directories that do not exist."""
    path = str(parent)
    while len(path) < octets - 200:
        path += "/" + "d" * 99
    return Path(f"{path}/{'d' * (octets - len(path) - 1)}")


@pytest.mark.parametrize("operation", ["open", "publish", "reap"])
@pytest.mark.parametrize("octets", [LONGEST + 1, LONGEST + 240, LONGEST + 300])
def test_a_base_whose_entries_would_have_too_long_paths_is_unusable(
    sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operation: str, octets: int
) -> None:
    """Before anything is made (CHAN-21), also if a relative path leads there."""
    command = [str(build(sources, "driver"))]
    home = long_path(tmp_path, octets)
    monkeypatch.chdir(tmp_path)
    for path in (home, home.relative_to(tmp_path)):
        driver = Driver(command, path)
        with driver, pytest.raises(Rejected, match="too long a path; set PUBSUB_HOME") as raised:
            getattr(driver, operation)(*([] if operation == "reap" else ["a"]))
        assert raised.value.code == "base-unusable"
        assert raised.value.detail.startswith(str(tmp_path))
    assert os.listdir(tmp_path) == []


def test_a_base_with_the_longest_path_works(sources: Path, tmp_path: Path) -> None:
    """The text of an error there has room for the beginning of the path, and for the reason."""
    home = long_path(tmp_path, LONGEST)
    pattern = f"{'c' * 99}.{'c' * 100}"
    with Driver([str(build(sources, "driver"))], home) as driver:
        channel = driver.open(pattern)
        assert driver.publish(pattern, content=b"deep") == 1
        message = driver.fetch(channel)
        assert message is not None
        assert message.content == b"deep"
        driver.close_channel(channel)
        (home / "tmp").rmdir()
        (home / "tmp").touch()
        with pytest.raises(Rejected, match="that is not a directory") as raised:
            driver.open("a")
        assert raised.value.detail.startswith(str(tmp_path))


def test_opening_without_mkfifoat(tmp_path: Path) -> None:
    """A system that lacks it has channels as well: macOS before 13."""
    flags = "CPPFLAGS=-DPS_NO_MKFIFOAT -Dmkfifoat=missing_here"
    driver = build(copy_sources(tmp_path / "c"), "driver", flags)
    conforms(driver, *(f"--requirement={rule}" for rule in ("CHAN-4", "CHAN-10", "GUAR-2")))


@pytest.mark.parametrize("asked", [[], ["before"]], ids=["after", "before"])
def test_a_descriptor_shows_what_is_in_hand(
    sources: Path, tmp_path: Path, home: Path, asked: list[str]
) -> None:
    """It is readable after a fetch that failed (FETCH-8, FETCH-21), and no longer than that."""
    run_program(sources, tmp_path, WATCHED_QUEUE, *asked)
    assert [path.name for path in home.iterdir()] == ["tmp"]


def test_a_fork_beside_a_busy_thread(sources: Path, tmp_path: Path, home: Path) -> None:
    """What the other thread was in the middle of does not hold up the child."""
    run_program(sources, tmp_path, FORK_BESIDE_A_THREAD)
    assert [path.name for path in home.iterdir()] == ["tmp"]


def test_a_forked_child_does_not_own_the_channel(sources: Path, tmp_path: Path, home: Path) -> None:
    """It takes no message of its parent's, and does not remove the directory."""
    if sys.platform != "linux":
        pytest.skip("needs the system call clone")
    run_program(sources, tmp_path, FORKED_CHILD)
    assert [path.name for path in home.iterdir()] == ["tmp"]


def test_names_that_the_linker_sees(sources: Path) -> None:
    """They do not meet those of a program that is linked with the library."""
    if not shutil.which("nm"):
        pytest.skip("needs nm")
    archive = build(sources, "libpubsub.a")
    listed = subprocess.run(
        ["nm", "-g", "-P", str(archive)], capture_output=True, text=True, check=True
    ).stdout.split("\n")
    fields = [line.split() for line in listed if line and not line.endswith(":")]
    defined = [name.lstrip("_") for name, kind, *_ in fields if kind in "TDBRC"]
    assert "pubsub_publish" in defined
    assert [name for name in defined if not name.startswith(("pubsub_", "ps_"))] == []
