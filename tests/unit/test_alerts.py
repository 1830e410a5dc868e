"""Whoever is told of an event: real processes, some of which hang, fail, or are not there, and a real web server."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import re
import shutil
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from aya.alerts import events
from aya.alerts.alerts import MOST_QUEUED, Alerts, channels
from aya.alerts.channel import Channel, Failed, Result
from aya.alerts.command import commands
from aya.alerts.config import LIMITS, AlertSettings, parsed
from aya.alerts.notification import Notification, words
from aya.alerts.webhook import Webhook, key_of, signature
from aya.backoff import Backoff
from aya.errors import ConfigError
from aya_watchdog.metrics import CONDITIONS

OPERATIONS = Path(__file__).parents[2] / "docs" / "operations"
SOON = Backoff(first_seconds=0.01, cap_seconds=0.02)


@pytest.fixture
def ended() -> list[Result]:
    """How an event ended at each channel."""
    return []


def hook(directory: Path, name: str, script: str) -> str:
    """Write a shell script and return how it is called."""
    file = directory / name
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    return str(file)


def alerts_of(told: Sequence[Channel], ended: list[Result]) -> Alerts:
    """Return the alerts of a service."""
    return Alerts("beta", "watchdog", told, count=ended.append, again=SOON)


@asynccontextmanager
async def running(alerts: Alerts) -> AsyncGenerator[None]:
    """Run the alerts as the service does."""
    work = asyncio.create_task(alerts.run(), name="alerts")
    yield
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)


async def until(ended: list[Result], count: int) -> None:
    """Wait until so many have ended."""
    async with asyncio.timeout(20):
        while len(ended) < count:  # noqa: ASYNC110 it wakes nobody
            await asyncio.sleep(0.01)


# Commands


async def test_every_command_is_told_of_every_event_in_turn(tmp_path: Path, ended: list[Result]) -> None:
    """The document on standard input, the name as the argument, words of its own before it."""
    command = hook(tmp_path, "hook", f'cat >> "{tmp_path}/$1-$2"; echo "$2" >> "{tmp_path}/order"')
    alerts = alerts_of(commands([f"{command} first", f"{command} 'the second'"]), ended)
    async with running(alerts):
        alerts.heard("condition.changed", {"condition": "FENCED", "epoch": 2, "why": "ä\n", "level": "info"})
        alerts.heard("epoch.begun", {"epoch": 3})
        await until(ended, 4)
    assert ended == ["ok"] * 4
    assert sorted((tmp_path / "order").read_text().split()) == ["condition.changed"] * 2 + ["epoch.begun"] * 2
    said = json.loads((tmp_path / "the second-condition.changed").read_text())
    assert said.pop("at").endswith("Z")
    assert said == {
        "event": "condition.changed", "node": "beta", "service": "watchdog", "severity": "critical",
        "summary": "a server is in another condition", "runbook": "docs/operations/failover.md#fenced",
        "condition": "FENCED", "epoch": 2, "why": "ä\n",
    }  # fmt: skip


async def test_a_command_that_hangs_holds_nobody_up_and_is_killed(tmp_path: Path, ended: list[Result]) -> None:
    """With the processes that it started; the one beside it goes on with the next event meanwhile."""
    hangs = hook(tmp_path, "hangs", f'trap "" TERM; sleep 600 & echo $! > "{tmp_path}/child"; wait')
    good = hook(tmp_path, "good", f'echo "$1" >> "{tmp_path}/good.txt"')
    alerts = alerts_of(commands([hangs, good], seconds=1.0), ended)
    async with running(alerts):
        began = time.monotonic()
        alerts.heard("epoch.begun", {"epoch": 1})
        alerts.heard("slot.lost", {})
        assert time.monotonic() - began < 0.2
        await until(ended, 4)
    assert ended == ["ok", "ok", "late", "late"]
    assert (tmp_path / "good.txt").read_text().split() == ["epoch.begun", "slot.lost"]
    child = int((tmp_path / "child").read_text())
    async with asyncio.timeout(10):
        while psutil.pid_exists(child) and psutil.Process(child).status() != psutil.STATUS_ZOMBIE:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_commands_that_fail_are_counted(tmp_path: Path, ended: list[Result]) -> None:
    """One that is not there, one that complains without end, one that does not read."""
    told = commands([
        str(tmp_path / "missing"),
        hook(tmp_path, "fails", "yes no | head -c 1000000 >&2; exit 3"),
        hook(tmp_path, "deaf", "exec 0<&-; exit 0"),
    ])  # fmt: skip
    alerts = alerts_of(told, ended)
    async with running(alerts):
        alerts.heard("epoch.begun", {"padding": "x" * 1_000_000})
        await until(ended, 3)
    assert sorted(ended) == ["failed", "failed", "ok"]


async def test_an_error_that_a_channel_did_not_foresee_is_a_failure_like_others(
    tmp_path: Path, ended: list[Result]
) -> None:
    """It is logged and counted, and everybody goes on being told."""

    class Broken:
        name = "broken"

        async def tell(self, document: Mapping[str, Any]) -> None:
            raise ZeroDivisionError(str(document["event"]))

    good = hook(tmp_path, "good", f'echo "$1" >> "{tmp_path}/good.txt"')
    alerts = alerts_of([Broken(), *commands([good])], ended)
    with capture_logs() as logged:
        async with running(alerts):
            alerts.heard("epoch.begun", {"epoch": 1})
            await until(ended, 2)
            alerts.heard("slot.lost", {})
            await until(ended, 4)
    assert sorted(ended) == ["failed", "failed", "ok", "ok"]
    assert [entry["said"] for entry in logged if entry["event"] == "alert.failed"] == [
        "ZeroDivisionError: epoch.begun", "ZeroDivisionError: slot.lost",
    ]  # fmt: skip


async def test_what_is_too_much_is_dropped_from_the_old_end(tmp_path: Path, ended: list[Result]) -> None:
    """And counted; nobody waits."""
    command = hook(tmp_path, "hook", f'cat >> "{tmp_path}/told"')
    alerts = alerts_of(commands([command]), ended)
    for number in range(MOST_QUEUED + 5):
        alerts.heard("epoch.begun", {"epoch": number})
    assert ended == ["dropped"] * 5
    async with running(alerts):
        await until(ended, MOST_QUEUED + 5)
    told = [json.loads(line)["epoch"] for line in (tmp_path / "told").read_text().splitlines()]
    assert told == [*range(5, MOST_QUEUED + 5)]


async def test_the_service_leaves_although_a_command_hangs(tmp_path: Path, ended: list[Result]) -> None:
    """Its processes end with it; what is quick is told before."""
    hangs = hook(tmp_path, "hangs", f'echo $$ > "{tmp_path}/pid"; exec sleep 600')
    alerts = alerts_of(commands([hangs]), ended)
    async with asyncio.timeout(10), running(alerts):
        alerts.heard("epoch.begun", {"epoch": 1})
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await alerts.finish(0.1)
    assert not psutil.pid_exists(int((tmp_path / "pid").read_text()))


# Webhooks


class Answering:
    """A web server that answers as it is told, in turn, and keeps what it was sent."""

    def __init__(self, answers: Sequence[str]) -> None:
        self._answers = [*answers]
        self.got: list[tuple[dict[str, str], bytes]] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one request; "silence" is no answer, "reset" the end of the connection."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        headers = {name.lower(): value for name, value in re.findall(r"^([\w-]+): (.*)\r$", head, re.MULTILINE)}
        self.got.append((headers, await reader.readexactly(int(headers["content-length"]))))
        answer = self._answers.pop(0)
        if answer == "silence":
            await reader.read()
        elif answer != "reset":
            writer.write(f"HTTP/1.1 {answer}\r\nContent-Length: 0\r\nLocation: /elsewhere\r\n\r\n".encode())
            await writer.drain()
        writer.close()


@asynccontextmanager
async def answering(*answers: str) -> AsyncGenerator[tuple[str, Answering]]:
    """Run it on a port of its own; its address."""
    served = Answering(answers)
    async with await asyncio.start_server(served, "127.0.0.1") as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook?a=1", served


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A secret as Standard Webhooks writes it."""
    file = tmp_path / "secret"
    file.touch(0o600)
    file.write_text("whsec_" + base64.b64encode(bytes(range(24))).decode() + "\n")
    return file


async def test_a_webhook_is_signed(secret: Path, ended: list[Result]) -> None:
    """Whoever has the secret finds the same signature over id, time and body, as the standard says."""
    async with answering("204 No Content") as (url, served):
        alerts = alerts_of([Webhook(url, secret)], ended)
        async with running(alerts):
            alerts.heard("rows.not_kept", {"why": "ü"})
            await until(ended, 1)
    ((headers, body),) = served.got
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    digest = hmac.new(bytes(range(24)), signed, hashlib.sha256).digest()
    assert headers["webhook-signature"] == "v1," + base64.b64encode(digest).decode()
    assert abs(int(headers["webhook-timestamp"]) - time.time()) < 60
    assert headers["content-type"] == "application/json"
    assert json.loads(body)["why"] == "ü"
    assert json.loads(body)["runbook"] == "docs/operations/failover.md#what-only-one-node-had"
    assert ended == ["ok"]


def test_the_standards_own_example_is_signed_alike() -> None:
    """The example of the specification's reference implementations."""
    key = key_of("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    assert signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}') == (
        "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    )


async def test_a_webhook_that_is_away_is_tried_again(secret: Path, ended: list[Result]) -> None:
    """With the same id, so that nobody takes it for two."""
    async with answering("503 Busy", "reset", "429 Slow", "200 OK") as (url, served):
        alerts = alerts_of([Webhook(url, secret)], ended)
        async with running(alerts):
            alerts.heard("slot.lost", {})
            await until(ended, 1)
    assert len(served.got) == 4
    assert len({headers["webhook-id"] for headers, _ in served.got}) == 1
    assert ended == ["ok"]


@pytest.mark.parametrize("answer", ["400 Bad", "401 No", "404 None", "302 Elsewhere", "410 Gone"])
async def test_a_webhook_that_refuses_is_not_asked_again(secret: Path, ended: list[Result], answer: str) -> None:
    """Nor is a redirect followed: whoever is told is whom the file names."""
    async with answering(answer) as (url, served):
        alerts = alerts_of([Webhook(url, secret)], ended)
        async with running(alerts):
            alerts.heard("slot.lost", {})
            await until(ended, 1)
    assert len(served.got) == 1
    assert ended == ["failed"]


async def test_a_silent_webhook_is_given_up(secret: Path, ended: list[Result]) -> None:
    """After its time, every time; the loop that decides goes on meanwhile, also while the library is loaded."""
    async with answering(*["silence"] * 6) as (url, served):
        alerts = alerts_of([Webhook(url, secret, seconds=0.2)], ended)
        async with running(alerts):
            alerts.heard("slot.lost", {})
            await until(ended, 1)
    assert len(served.got) == 6
    assert ended == ["late"]


async def test_a_webhook_without_its_secret_sends_nothing(tmp_path: Path, ended: list[Result]) -> None:
    """A file that others may read is none."""
    (tmp_path / "open").write_text("x" * 32)
    (tmp_path / "open").chmod(0o644)
    async with answering() as (url, served):
        for file in (tmp_path / "open", tmp_path / "missing"):
            with pytest.raises(Failed, match=r"others may read it|cannot be read"):
                await Webhook(url, file).tell({"event": "x"})
    assert served.got == []


@pytest.fixture
def stranger(tmp_path: Path) -> ssl.SSLContext:
    """A server's side of TLS, with a certificate that nobody vouches for."""
    subprocess.run(
        [shutil.which("openssl") or "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes",
         "-subj", "/CN=localhost", "-keyout", str(tmp_path / "key"), "-out", str(tmp_path / "certificate")],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "certificate", tmp_path / "key")
    return context


async def test_a_webhook_of_somebody_else_is_not_told(secret: Path, stranger: ssl.SSLContext) -> None:
    """It ends before a word is said."""
    served = Answering(["200 OK"])
    async with await asyncio.start_server(served, "127.0.0.1", ssl=stranger) as server:
        url = f"https://localhost:{server.sockets[0].getsockname()[1]}/"
        with pytest.raises(Failed, match=r"(?i)certificate"):
            await Webhook(url, secret).tell({"event": "x"})
    assert served.got == []


# The screen


async def test_a_notification_shows_texts_and_runs_none(tmp_path: Path) -> None:
    """The real osascript is macOS's: here its place is taken by what writes down its arguments. News is not shown."""
    script = hook(tmp_path, "osascript", f'printf "%s|" "$@" > "{tmp_path}/shown"')
    document = events.document(
        "condition.changed", {"condition": "FENCED", "why": '" & (do shell script "id") & "\n'}, at="", node="beta",
        service="watchdog",
    )  # fmt: skip
    await Notification(script).tell(document)
    shown = (tmp_path / "shown").read_text().split("|")
    assert shown[-7:-2] == ["-e", "end run", "AYA: beta", "a server is in another condition",
                            '" & (do shell script "id") & "']  # fmt: skip
    assert not any("id" in part for part in words(document)[:-3])
    (tmp_path / "shown").unlink()
    await Notification(script).tell({**document, "severity": "info"})
    assert not (tmp_path / "shown").exists()


# Which events


def told(log: Sequence[tuple[float, str, dict[str, Any]]]) -> list[float]:
    """Return when what was logged was told."""
    gate = events.Gate()
    return [now for now, event, details in log if gate.passes(event, details, now)]


Logged = list[tuple[float, str, dict[str, Any]]]
LOGS: list[tuple[Logged, list[float]]] = [
    ([(0, "service.started", {}), (1, "changes.pulled", {})], []),
    ([(0, "condition.changed", {}), (1, "condition.changed", {})], [0, 1]),
    ([(0, "slot.lost", {}), (899, "slot.lost", {}), (901, "slot.lost", {})], [0, 901]),
    ([(0, "document.poisoned", {"document_id": 1}), (1, "document.poisoned", {"document_id": 2})], [0, 1]),
    # An outage is told when it lasts, and its end only when it was told.
    ([(0, "indexer.interrupted", {}), (5, "indexer.recovered", {})], []),
    ([(0, "indexer.interrupted", {}), (30, "indexer.interrupted", {}), (60, "indexer.interrupted", {}),
      (70, "indexer.recovered", {}), (71, "indexer.recovered", {})], [30, 70]),
    ([(0, "indexer.interrupted", {}), (5, "indexer.recovered", {}), (30, "indexer.interrupted", {}),
      (60, "indexer.interrupted", {})], [60]),
]  # fmt: skip


@pytest.mark.parametrize(("log", "expected"), LOGS)
def test_what_is_told(log: Logged, expected: list[float]) -> None:
    """Once, in time, and not what mends itself in a moment."""
    assert told(log) == expected


@given(st.lists(st.tuples(st.sampled_from([*events.KINDS]), st.integers(0, 2000)), max_size=3000))
def test_what_is_remembered_is_bounded(log: list[tuple[str, int]]) -> None:
    """Whatever is logged, and however long."""
    gate = events.Gate()
    for now, (event, number) in enumerate(log):
        gate.passes(event, {"document_id": number}, float(now))
    assert len(gate.told) <= 1000
    assert len(gate.since) <= len(events.KINDS)


def headings(page: str) -> set[str]:
    """Return the anchors of a page, as GitHub makes them."""
    text = (OPERATIONS / page).read_text(encoding="utf-8")
    found = re.findall(r"^##+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


def runbooks() -> list[str]:
    """Return every runbook that an alert may name."""
    found = [events.document(name, {}, at="", node="", service="")["runbook"] for name in events.KINDS
             if name != "condition.changed"]  # fmt: skip
    conditions = [events.document("condition.changed", {"condition": name}, at="", node="", service="")["runbook"]
                  for name in CONDITIONS]  # fmt: skip
    limits = [events.document("limit.crossed", {"limit": name}, at="", node="", service="")["runbook"]
              for name in LIMITS]  # fmt: skip
    return sorted({*found, *conditions, *limits})


@pytest.mark.parametrize("runbook", runbooks())
def test_every_alert_names_a_runbook_that_exists(runbook: str) -> None:
    """The page and the section."""
    page, _, section = runbook.removeprefix("docs/operations/").partition("#")
    assert not section or section in headings(page)


def test_every_alert_is_logged_by_somebody_and_explained() -> None:
    """A name of the table that no code logs would never be told; each stands on the page of alerts."""
    root = Path(__file__).parents[2]
    code = "".join(file.read_text(encoding="utf-8") for folder in ("src/aya", "services")
                   for file in (root / folder).rglob("*.py") if file.parent.name != "alerts")  # fmt: skip
    page = (OPERATIONS / "alerts.md").read_text(encoding="utf-8")
    for name in events.KINDS:
        noun = name.partition(".")[0]
        assert f'"{name}"' in code or f'Outage("{noun}")' in code, name
        assert f"`{name}`" in page, name


def test_every_service_tells() -> None:
    """A log that nobody listens to alerts nobody; a link of `aya dev` has nothing to say."""
    root = Path(__file__).parents[2]
    mains = [file for folder in ("src/aya", "services") for file in (root / folder).rglob("*.py")
             if "service.run(" in file.read_text(encoding="utf-8")]  # fmt: skip
    assert len(mains) > 6
    assert [file.name for file in mains if "told=" not in file.read_text(encoding="utf-8")] == ["link.py"]


# The configuration


def test_nobody_is_told_by_default() -> None:
    """And a Mac's screen is nothing elsewhere."""
    assert not AlertSettings().any
    assert channels(AlertSettings(), "darwin") == []
    assert channels(AlertSettings(notify=True), "linux") == []
    (shown,) = channels(AlertSettings(notify=True), "darwin")
    assert shown.name == "notification"


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"commands": "x"}, "list of strings"),
        ({"commands": ["a 'b"]}, "No closing quotation"),
        ({"notify": 1}, "true or false"),
        ({"webhook": "https://a.example/"}, "needs alerts.webhook_secret_file"),
        ({"webhook": "http://a.example/", "webhook_secret_file": "s"}, "must be https"),
        ({"webhook": "https://me:pw@a.example/", "webhook_secret_file": "s"}, "no password"),
        ({"webhook": "https://a.example:port/", "webhook_secret_file": "s"}, "must be https"),
        ({"webhook": "file:///etc/passwd", "webhook_secret_file": "s"}, "must be https"),
        ({"webhook": 3}, "must be a string"),
        ({"limits": 3}, "must be a table"),
        ({"limits": {"disks": 90}}, "has no disks"),
        ({"limits": {"disk": True}}, "must be a number"),
        ({"limits": {"disk": -1}}, "must be a number"),
        # What a library would refuse at the first alert.
        ({"webhook": "https://a.example/\x01", "webhook_secret_file": "s"}, "must be https"),
        ({"webhook": "https://a b.example/", "webhook_secret_file": "s"}, "must be https"),
    ],
)
def test_what_is_wrong_is_refused(table: dict[str, Any], said: str, tmp_path: Path) -> None:
    """With what, and where; a password in an address is not repeated."""
    with pytest.raises(ConfigError, match=said) as caught:
        parsed(table, tmp_path)
    assert "pw" not in str(caught.value)


def test_a_relative_secret_is_in_the_home(tmp_path: Path) -> None:
    """As every other file of aya.toml."""
    table = {"webhook": "http://localhost:1/", "webhook_secret_file": "s", "commands": ["a b"], "notify": True}
    assert parsed(table, tmp_path) == AlertSettings(("a b",), "http://localhost:1/", tmp_path / "s", notify=True)


def test_a_service_tells_its_last_word(tmp_path: Path) -> None:
    """A whole service: what it logs is heard, however quiet its log is, and told before it leaves."""
    command = hook(tmp_path, "hook", f'cat >> "{tmp_path}/told"')
    program = (
        "import sys\nfrom aya import log, service\nfrom aya.alerts.config import AlertSettings\n"
        "async def main(stop):\n    log.get_logger().info('condition.changed', condition='FENCED')\n"
        "    log.get_logger().info('changes.pulled')\n"
        f"sys.exit(service.run('test', main, node='air', told=AlertSettings(({command!r},))))"
    )
    environ = {"AYA_LOG_LEVEL": "error", "PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    said = json.loads((tmp_path / "told").read_text())
    assert (said["service"], said["node"], said["condition"]) == ("test", "air", "FENCED")
