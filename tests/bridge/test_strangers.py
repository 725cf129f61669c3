"""Several bridges, other NATS clients, and servers as they should not be."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from machines import ROOT, SECONDS, Machine, Make, Serve, Server, making, needs_server, serving
from pubsub_conformance.waiting import until

from pubsub import HeaderValue, Message, fetch, reply

CLONED = "another machine has a copy of this bridge's state"

pytestmark = [needs_server, pytest.mark.timeout(120)]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    yield from serving(tmp_path)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Make]:
    yield from making(tmp_path)


def as_client(server: Server, use: Callable[[Any], Awaitable[None]]) -> None:
    """Use the server as another client."""
    nats = pytest.importorskip("nats")

    async def run() -> None:
        client = await nats.connect(server.url)
        await use(client)
        await client.flush()
        await client.close()

    asyncio.run(run())


def fetched(channel: Any, number: int) -> list[Message]:
    """So many messages, and no more that are there already."""
    messages: list[Message] = []

    def are_there() -> bool:
        while message := fetch(channel):
            messages.append(message)
        return len(messages) >= number

    assert until(are_there, SECONDS), messages
    return messages


def test_three_machines_with_overlapping_patterns(serve: Serve, machine: Make) -> None:
    """Each message comes once to each base, whatever matches it how often."""
    server = serve()
    patterns = [["+"], ["a.=", "+"], ["a.+", "=.b", "+.b"]]
    machines = [machine(name) for name in "abc"]
    channels = []
    for one, its in zip(machines, patterns, strict=True):
        pairs = [(f"--{way}", pattern) for way in ("export", "import") for pattern in its]
        one.start(server.url, *(word for pair in pairs for word in pair))
        channels.append(one.open("+"))
    for one in machines:
        one.until_connected()
    headers: dict[str, HeaderValue] = {
        "n": 1,
        "s": " x\n",
        "é": None,
        "Nats-Msg-Id": "1",
        "t": True,
    }
    for one in machines:
        assert one.publish("a.b", one.home.parent.name.encode(), headers) == 2
    for channel in channels:
        messages = fetched(channel, 3)
        assert sorted(message.content for message in messages) == [b"a", b"b", b"c"]
        assert all(message.headers == headers for message in messages)
    for one in machines:
        one.until(imported=2, exported=1, own=0, refused=0, lost=0)


def test_two_bridges_of_one_base(serve: Serve, machine: Make, tmp_path: Path) -> None:
    """What one imports the other does not export, and what they export does not come back."""
    server = serve()
    one, far = machine("a"), machine("far")
    other = Machine(tmp_path / "other")
    other.home, other.state = one.home, one.state
    try:
        everything = [server.url, "--export", "+", "--import", "+"]
        one.start(*everything)
        one.until_connected()
        other.start(*everything)
        assert other.wait() == 2
        assert other.said("a bridge 'bridge' of this base is running")
        other.start(*everything, "--name", "second")
        far.start(*everything)
        for bridge in (other, far):
            assert until(lambda bridge=bridge: bridge.said("connected to"), SECONDS)  # type: ignore[misc]
        channel, there = one.open("+"), far.open("+")
        assert one.publish("a", b"from here") == 3
        assert far.publish("a", b"from there") == 2
        # Each of the two carries each message: these are two bridges for the same topics.
        assert sorted(m.content for m in fetched(there, 3)) == [b"from here"] * 2 + [b"from there"]
        assert (
            sorted(m.content for m in fetched(channel, 3)) == [b"from here"] + [b"from there"] * 2
        )
        for bridge in (one, other):
            bridge.until(exported=1, own=1)
            assert not bridge.said(CLONED)
    finally:
        other.close()


@pytest.mark.parametrize("kind", [[], ["--stream", "s", "--make-stream"]], ids=["core", "stream"])
def test_a_machine_that_was_cloned(serve: Serve, machine: Make, kind: list[str]) -> None:
    """Both say it, once, and what is to be done helps. What a bridge itself sent is no clone's."""
    server = serve("-js")
    one, clone = machine("a"), machine("b")
    arguments = [server.url, "--export", "t.+", "--import", "t.+", *kind]
    for times in (1, 2):
        one.start(*arguments)
        one.until_started(times)
        assert one.publish("t.a") == 1
        one.until(exported=1, own=len(kind[:1]))
        assert one.end(signal.SIGTERM) == 0
    shutil.copytree(one.state, clone.state)
    for bridge, times in ((one, 3), (clone, 1)):
        bridge.start(*arguments)
        bridge.until_started(times)
    channel = clone.open("t.+")
    assert not one.said(CLONED)
    for bridge, other in ((one, clone), (clone, one)):
        for _ in range(2):
            bridge.publish("t.a", b"from a twin")
        assert until(lambda other=other: other.said(CLONED), SECONDS), other.lines()  # type: ignore[misc]
    clone.end()
    (clone.state / "origin").unlink()
    clone.start(*arguments)
    clone.until_started(2)
    assert one.publish("t.a", b"for all") == 1

    def has_come() -> bool:
        return b"for all" in [message.content for message in iter(lambda: fetch(channel), None)]

    assert until(has_come, SECONDS), clone.lines()
    for bridge in (one, clone):
        assert sum(CLONED in line for line in bridge.lines()) == 1


def test_other_clients(serve: Serve, machine: Make) -> None:
    """Their messages come in, ours are readable to them, and nothing of theirs stops the bridge."""
    server = serve()
    one = machine("a")
    one.start(server.url, "--export", "out.+", "--import", "+")
    channel = one.open("+")
    one.until_connected()
    read: list[Any] = []

    async def use(client: Any) -> None:
        async def note(message: Any) -> None:
            read.append(message)

        await client.subscribe("out.>", cb=note)
        await client.flush()
        assert one.publish("out.a", b"ours", {"minute": 90, "team": "IFK", "odd name": "x"}) == 2
        for subject in ("a_b", "_INBOX.x", "$x", "a.b_c"):
            await client.publish(subject, b"")
        await client.publish("in.a", b"forged", headers={"Pubsub": "1 2 3"})
        await client.publish("in.a", b"forged", headers={"Pubsub-Headers": "{"})
        await client.publish("in.a", b"bare")
        await client.publish("in.a", b"theirs", headers={"minute": "90", "x": '"y"'})
        await client.flush()
        while not read:
            await asyncio.sleep(0.01)

    as_client(server, use)
    port = int(server.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)) as raw:  # what no client sends
        raw.sendall(b'CONNECT {"headers":true,"verbose":false}\r\n')
        for block in (b"N", b"NATS/1.0", b"NATS/1.0 \xff\xff\xff\r\n\r\n"):
            size = len(block)
            raw.sendall(b"HPUB in.a %d %d\r\n%s\r\n" % (size, size, block))
        raw.sendall(b"PUB in.a 4\r\nlast\r\nPING\r\n")
        assert until(lambda: b"PONG" in raw.recv(4096), SECONDS)
    messages = [message for message in fetched(channel, 5) if message.content != b"ours"]
    contents = [message.content for message in messages]
    assert contents[-1] == b"last"
    assert [content for content in contents if content] == [b"forged", b"bare", b"theirs", b"last"]
    assert messages[contents.index(b"bare")].headers == {}
    assert messages[contents.index(b"theirs")].headers == {"minute": "90", "x": '"y"'}
    status = one.status()
    assert status["connections"] == 1
    assert status["refused"] >= 5
    assert sum("no topics" in line for line in one.lines()) == 1  # once, however many come
    assert (read[0].data, read[0].headers["minute"], read[0].headers["team"]) == (
        b"ours",
        "90",
        "IFK",
    )


def test_a_message_beyond_the_limit_of_the_server(serve: Serve, machine: Make) -> None:
    server = serve()
    one, other = machine("a"), machine("b")
    one.start(server.url, "--export", "+")
    other.start(server.url, "--import", "+")
    channel = other.open("+")
    one.until_connected()
    other.until_connected()
    limit = 2**20
    assert one.publish("a", bytes(limit + 1)) == 1
    assert one.publish("a", bytes(limit - 20)) == 1  # too large with its headers
    assert one.publish("a", bytes(limit - 200)) == 1
    assert one.publish("a", b"small") == 1
    assert [len(message.content) for message in fetched(channel, 2)] == [limit - 200, 5]
    assert one.until(too_large=2, exported=2)["connections"] == 1
    assert one.said(f"the server takes {limit}")


def test_credentials(serve: Serve, machine: Make) -> None:
    """Wrong ones are told; they are nowhere to be read."""
    server = serve("--user", "u", "--pass", "right-secret")
    one = machine("a")
    one.start(server.url, "--export", "+", NATS_USER="u", NATS_PASSWORD="wrong-secret")
    assert until(lambda: one.said("Authorization Violation"), SECONDS), one.lines()
    assert one.publish("a") == 1  # local publishing goes on
    assert one.end(signal.SIGTERM) == 0
    one.start(server.url, "--export", "+", NATS_USER="u", NATS_PASSWORD="right-secret")
    one.until_connected()
    assert not one.said("secret")


def test_a_credentials_file(serve: Serve, machine: Make, tmp_path: Path) -> None:
    """The server knows an operator, who vouches for an account, which vouches for users."""
    nkeys = pytest.importorskip("nkeys")
    letters = (getattr(nkeys, f"PREFIX_BYTE_{role}") for role in ("OPERATOR", "ACCOUNT", "USER"))
    operator, account, user = (
        nkeys.from_seed(nkeys.encode_seed(os.urandom(32), letter)) for letter in letters
    )

    def vouch(issuer: Any, subject: Any, kind: str, **more: object) -> str:
        """A JSON web token as NATS has them."""
        names = {"iss": issuer.public_key.decode(), "sub": subject.public_key.decode()}
        claims = {**names, "name": kind, "nats": {"type": kind, "version": 2, **more}}
        parts = [{"typ": "JWT", "alg": "ed25519-nkey"}, claims]
        text = b".".join(base64url(json.dumps(part).encode()) for part in parts)
        return (text + b"." + base64url(issuer.sign(text))).decode()

    limits = dict.fromkeys(("subs", "conn", "data", "payload", "imports", "exports"), -1)
    trusted = vouch(operator, account, "account", limits=limits)
    trust = tmp_path / "trust.conf"
    trust.write_text(
        f"operator: {vouch(operator, operator, 'operator')}\n"
        f"resolver: MEMORY\nresolver_preload: {{ {account.public_key.decode()}: {trusted} }}\n"
    )
    server = serve("-c", str(trust))
    one, file, secret = machine("a"), tmp_path / "creds", user.seed.decode()
    one.start(server.url, "--export", "+", "--credentials", str(file))
    for issuer, said in (
        (None, "No such file or directory"),
        ("", "the file of credentials is malformed"),
        (operator, "Authorization Violation"),
        (account, "connected to"),
    ):
        if issuer is not None:
            token = issuer and vouch(issuer, user, "user", subs=-1, data=-1, payload=-1)
            file.with_suffix(".new").write_text(
                f"-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n"
                f"-----BEGIN USER NKEY SEED-----\n{issuer and secret}\n"
                "------END USER NKEY SEED------\n"
            )
            file.with_suffix(".new").rename(file)
        assert until(lambda said=said: one.said(said), SECONDS), one.lines()  # type: ignore[misc]
    assert not one.said(secret)


def base64url(octets: bytes) -> bytes:
    return base64.urlsafe_b64encode(octets).rstrip(b"=")


def test_addresses_where_no_server_is(machine: Make) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def greet() -> None:
            try:
                while True:
                    with listening.accept()[0] as client:
                        client.sendall(b"SSH-2.0-OpenSSH\r\n")
            except OSError:
                pass

        threading.Thread(target=greet, daemon=True).start()
        one, other = machine("a"), machine("b")
        one.start(f"nats://127.0.0.1:{listening.getsockname()[1]}", "--export", "+")
        other.start("nats://no-such-host.invalid:4222", "--export", "+")
        assert until(lambda: one.said("expecting INFO"), SECONDS), one.lines()
        assert until(lambda: other.said("no connection to no-such-host.invalid:4222"), SECONDS)
        for each in (one, other):
            assert each.publish("a") == 1
            assert each.status()["connected"] is False
            assert each.end(signal.SIGTERM) == 0
        listening.shutdown(socket.SHUT_RDWR)


def test_one_of_several_servers(serve: Serve, machine: Make) -> None:
    """The next one is tried when one is away, and that is said once."""
    first, second = serve(started=False), serve()
    one, other = machine("a"), machine("b")
    one.start(f"{first.url},{second.url}", "--export", "+")
    other.start(f"{first.url},{second.url}", "--import", "+")
    channel = other.open("+")
    for times in (1, 2):
        for bridge in (one, other):
            bridge.until_started(times)
            bridge.until_connected(times)
        assert one.publish("a", b"%d" % times) == 1
        assert [message.content for message in fetched(channel, 1)] == [b"%d" % times]
        if times == 1:
            first.start()
            second.end()
    for bridge in (one, other):
        assert sum("no connection to" in line for line in bridge.lines()) == 2


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_tls(serve: Serve, machine: Make, tmp_path: Path) -> None:
    """TLS that is wanted and not offered is refused: nothing goes out in clear."""
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    made = ["-keyout", str(key), "-out", str(certificate)]
    options = ["-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=x"]
    address = ["-addext", "subjectAltName=IP:127.0.0.1"]
    command = ["openssl", "req", "-x509", *options, *address, *made]
    subprocess.run(command, check=True, capture_output=True)
    plain = serve()
    good = serve("--tls", "--tlscert", str(certificate), "--tlskey", str(key))
    one, two, three = machine("a"), machine("b"), machine("c")
    one.start(plain.url, "--export", "+", "--ca", str(certificate))
    two.start(good.url, "--export", "+", "--ca", str(certificate))
    three.start(good.url.replace("nats:", "tls:"), "--export", "+")
    assert until(lambda: one.said("the server does not offer it"), SECONDS), one.lines()
    two.until_connected()
    assert until(lambda: three.said("CERTIFICATE_VERIFY_FAILED"), SECONDS), three.lines()


def test_a_channel_that_is_lost_is_opened_anew(serve: Serve, machine: Make) -> None:
    server = serve()
    one = machine("a")
    one.start(server.url, "--export", "+")
    one.until_connected()
    shutil.rmtree(one.home)
    assert until(lambda: one.publish("a") == 1, SECONDS, poll=0.1)
    one.until(exported=1, connected=True)
    assert one.said("opened anew")


def test_a_stream_that_takes_nothing_for_a_while(serve: Serve, machine: Make) -> None:
    """Messages are kept while there is no such stream, or no room in it."""
    server = serve("-js")
    one = machine("a")
    one.start(server.url, "--export", "a.+", "--stream", "s")
    assert until(lambda: one.said("stream not found"), SECONDS), one.lines()
    for number in range(5):
        assert one.publish("a.b", b"%d" % number) == 1

    async def make(client: Any) -> None:
        await client.jetstream().add_stream(
            name="s", subjects=["a.>"], max_msgs=2, discard="new", storage="memory"
        )

    as_client(server, make)
    assert until(lambda: one.said("the stream takes no messages"), SECONDS), one.lines()
    one.until(connected=True, sent_and_unconfirmed=3)
    stored: list[bytes] = []

    async def enlarge(client: Any) -> None:
        stream = client.jetstream()
        await stream.update_stream(
            name="s", subjects=["a.>"], max_msgs=9, discard="new", storage="memory"
        )
        subscription = await stream.subscribe("a.>", ordered_consumer=True)
        for _ in range(5):
            stored.append((await subscription.next_msg(timeout=SECONDS)).data)

    as_client(server, enlarge)
    assert stored == [b"0", b"1", b"2", b"3", b"4"]
    one.until(exported=5, sent_and_unconfirmed=0)


def test_a_subject_that_is_not_permitted(serve: Serve, machine: Make, tmp_path: Path) -> None:
    """It is said once, and the other subjects are served."""
    rules = tmp_path / "rules.conf"
    user = '{user: u, password: p, permissions: {publish: {deny: "secret.>"}}}'
    rules.write_text(f"authorization {{ users: [{user}] }}\n")
    server = serve("-c", str(rules))
    one, other = machine("a"), machine("b")
    one.start(server.url, "--export", "+", NATS_USER="u", NATS_PASSWORD="p")
    other.start(server.url, "--import", "+", NATS_USER="u", NATS_PASSWORD="p")
    channel = other.open("+")
    one.until_connected()
    other.until_connected()
    for _ in range(3):
        assert one.publish("secret.a") == 1
    assert one.publish("open.a") == 1
    assert [message.topic for message in fetched(channel, 1)] == ["open.a"]
    one.until(denied=3, connections=1)
    assert sum("permissions violation" in line.lower() for line in one.lines()) == 1


def test_a_request_is_replied_from_another_machine(serve: Serve, machine: Make) -> None:
    server = serve()
    asking, replying = machine("a"), machine("b")
    asking.start(server.url, "--export", "jobs.=", "--import", "responses.=")
    replying.start(server.url, "--import", "jobs.=", "--export", "responses.=")
    jobs = replying.open("jobs.=")
    asking.until_connected()
    replying.until_connected()
    asker = subprocess.Popen(
        [sys.executable, "-m", "pubsub", "request", "jobs.a", "question", "--timeout", "30"],
        env={**os.environ, "PUBSUB_HOME": str(asking.home)},
        cwd=ROOT,
        stdout=subprocess.PIPE,
    )
    with asker:
        (request,) = fetched(jobs, 1)
        with replying.here():
            assert reply(request, b"answer to " + request.content) == 1
        assert asker.communicate(timeout=SECONDS)[0].rstrip() == b"answer to question"
    assert asker.returncode == 0
