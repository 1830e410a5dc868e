"""The page's calls over a real database, with what strangers store in it, and strangers who call."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from structlog.testing import capture_logs
from tests.integration.conftest import Knowledge
from tests.web_lab import Page, seen, served

from aya.db import Database
from aya.dsn import DatabaseSettings
from aya.embedder_client import EmbedderClient
from aya.errors import DatabaseReadOnly
from aya.home import Home, Node
from aya.knowledge.binding import bind
from aya.knowledge.documents import Documents
from aya.knowledge.types import NewDocument
from aya.settings import NodeSettings
from aya_web import base as web_base
from aya_web import door
from aya_web.app import create_app
from aya_web.base import Base
from aya_web.config import Config
from aya_web.gate import POLICY
from aya_web.limits import Limits
from aya_web.metrics import Metrics
from aya_web.watcher import Watcher

pytestmark = pytest.mark.database

TOKEN = "correct-horse-battery"
HOSTILE = (
    "Tea <script>window.stolen = 1</script> and </mark><img src=x onerror=alert(1)> tea 😀🫖 teapots. "
    "\u202eright to left\u202c, שלום עולם, & &amp; 'quotes' \"double\" tea."
)


@pytest.fixture
async def page(knowledge: Knowledge, embedder_url: str, tmp_path: Path) -> AsyncIterator[Page]:
    """A page over a base with one document."""
    await knowledge.documents.add(NewDocument(HOSTILE, title="<b>Tea</b>", category="drinks", source="web"))
    async with served(knowledge.settings, embedder_url, tmp_path) as page:
        yield page


async def get(page: Page, path: str, **headers: str) -> httpx2.Response:
    """Call the page."""
    async with httpx2.AsyncClient(timeout=10) as client:
        return await client.get(page.url + path, headers=headers)


async def test_a_hit_is_cut_into_segments_in_code_points(page: Page) -> None:
    """Stored text comes back as it is, and the parts together are the snippet, beyond the basic plane too."""
    said = (await get(page, "/api/search?q=tea&k=3")).json()
    (hit,) = said["results"]
    assert (hit["title"], hit["source"], hit["category"]) == ("<b>Tea</b>", "web", "drinks")
    assert "".join(part["text"] for part in hit["segments"]) == hit["snippet"]
    marked = [part["text"] for part in hit["segments"] if part["mark"]]
    assert marked == [hit["snippet"][start:end] for start, end in hit["highlights"]]
    assert {word.lower() for word in marked} == {"tea"}
    assert "😀🫖" in hit["snippet"]


async def test_a_search_is_narrowed_by_category(page: Page) -> None:
    """Another category has nothing."""
    assert (await get(page, "/api/search?q=tea&category=drinks")).json()["count"] == 1
    assert (await get(page, "/api/search?q=tea&category=food")).json()["count"] == 0


async def test_a_document_is_shown_with_its_passage_marked(page: Page) -> None:
    """Its text is whole, and what was asked for is a segment of its own."""
    said = (await get(page, "/api/documents/1?start=4&end=12")).json()
    assert "".join(part["text"] for part in said["segments"]) == HOSTILE
    assert [part["text"] for part in said["segments"] if part["mark"]] == ["<script>"]
    assert said["cut"] is False


@pytest.mark.parametrize(
    ("path", "status", "kind"),
    [
        ("/api/documents/9", 404, "not_found"),
        ("/api/documents/99999999999", 422, "invalid"),
        ("/api/search", 422, "invalid"),
        ("/api/search?q=", 422, "invalid"),
        ("/api/search?q=%20", 422, "invalid"),
        ("/api/search?q=a%00b", 422, "invalid"),
        ("/api/search?q=tea&k=51", 422, "invalid"),
        ("/api/search?q=tea&k=0", 422, "invalid"),
        ("/api/search?q=" + 1001 * "a", 422, "invalid"),
        ("/api/search?q=tea&mode=magic", 422, "invalid"),
        ("/api/history?since=soon", 422, "invalid"),
        ("/nothing", 404, "not_found"),
        ("/../pyproject.toml", 404, "not_found"),
        ("/docs", 404, "not_found"),
    ],
)
async def test_what_cannot_be_answered_says_why_and_what_next(page: Page, path: str, status: int, kind: str) -> None:
    """In one shape."""
    answer = await get(page, path)
    error = answer.json()["error"]
    assert (answer.status_code, error["type"]) == (status, kind)
    assert error["message"]
    assert error["hint"]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
async def test_nothing_can_be_written(page: Page, method: str) -> None:
    """There is no such call."""
    async with httpx2.AsyncClient() as client:
        for path in ("/api/documents/1", "/api/search?q=tea", "/"):
            answer = await client.request(method, page.url + path)
            assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")


async def test_a_session_of_the_page_cannot_write(knowledge: Knowledge, embedder_url: str) -> None:
    """Even a call that would is refused by the server."""
    async with Base(NodeSettings("alpha", knowledge.settings, embedder_url), knowledge.settings) as base:
        with pytest.raises(DatabaseReadOnly):
            await base._documents.add(NewDocument("not kept"))  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "evil.example"}, 421),
        ({"host": "evil.example:8767"}, 421),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"content-length": "5"}, 413),
        ({"x-forwarded-for": "127.0.0.1"}, 401),
        ({"host": "localhost"}, 200),
    ],
)
async def test_strangers_are_turned_away(page: Page, headers: dict[str, str], status: int) -> None:
    """By another name, from another page, with a body, or through a proxy: before anything is read."""
    host, port = page.url.removeprefix("http://").split(":")
    lines = {"host": f"{host}:{port}", **headers, "connection": "close"}
    request = "GET /api/status HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items()) + "\r\n"
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request.encode())
    said = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    assert int(said.split(b" ")[1]) == status


async def test_every_answer_binds_the_browser(page: Page) -> None:
    """Refusals, too: nothing from elsewhere, no framing, no guessing of types."""
    for path in ("/", "/app.js", "/api/status", "/api/search?q=", "/nothing"):
        headers = (await get(page, path)).headers
        assert headers["content-security-policy"] == POLICY
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] in {"no-store", "no-cache"}
    assert "unsafe" not in POLICY


async def test_a_file_of_the_page_is_asked_for_once(page: Page) -> None:
    """Then by its tag, which is of its content."""
    first = await get(page, "/style.css")
    again = await get(page, "/style.css", **{"if-none-match": first.headers["etag"]})
    assert (first.status_code, again.status_code, again.content) == (200, 304, b"")


async def test_with_a_token_everybody_says_it(knowledge: Knowledge, embedder_url: str, tmp_path: Path) -> None:
    """The page itself is open, as it holds nothing; all that it asks for is not, on this machine neither."""
    async with served(knowledge.settings, embedder_url, tmp_path, token=TOKEN) as page:
        for path in ("/", "/app.js", "/style.css", "/health"):
            assert (await get(page, path)).status_code == 200
        for path in ("/api/status", "/api/search?q=tea", "/metrics", "/api/documents/1", "/openapi.json"):
            refused = await get(page, path)
            assert (refused.status_code, refused.headers["www-authenticate"]) == (401, 'Bearer realm="aya-web"')
            assert TOKEN not in refused.text
            assert (await get(page, path, authorization=f"Bearer {TOKEN}x")).status_code == 401
        assert (await get(page, "/api/status", authorization=f"Bearer {TOKEN}")).status_code == 200


async def test_the_status_says_when_it_was_seen(page: Page) -> None:
    """By the server's own clock, twice: a client's may differ."""
    seen(page.watcher, ago=20)
    said = (await get(page, "/api/status")).json()
    assert said["now"] - said["at"] == pytest.approx(20, abs=5)
    assert [node["name"] for node in said["nodes"]] == ["alpha", "beta", "air"]
    assert (await get(page, "/health")).json() == {"status": "healthy"}
    seen(page.watcher, ago=60)
    assert (await get(page, "/health")).json() == {"status": "stale"}


async def test_the_history_can_be_asked_for_piece_by_piece(page: Page) -> None:
    """What is newer than what a client has."""
    whole = (await get(page, "/api/history")).json()
    rest = (await get(page, f"/api/history?since={whole['at'][-3]}")).json()
    assert rest["at"] == whole["at"][-2:]
    assert rest["series"]["lag_bytes"]["beta"] == whole["series"]["lag_bytes"]["beta"][-2:]


async def test_conflicts_are_listed_with_the_command_that_decides(knowledge: Knowledge, page: Page) -> None:
    """Both versions, as text."""
    async with knowledge.database.connection() as connection:
        await connection.execute(
            "INSERT INTO conflicts (unit, uid, origin, op_uid, loser, reason, document)"
            " SELECT 'document', uid, 'air', gen_random_uuid(), 'sender', 'older', to_jsonb(d) FROM documents AS d"
        )
    said = (await get(page, "/api/conflicts")).json()
    (conflict,) = said["conflicts"]
    assert (conflict["origin"], conflict["next"]) == ("air", f"aya conflicts show {conflict['id']}")
    assert conflict["lost"]["content"] == conflict["head"]["content"] == HOSTILE[:200]


async def test_a_database_that_is_gone_is_told(embedder_url: str, tmp_path: Path) -> None:
    """503, with the next command; what was seen before is still shown."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        gone = DatabaseSettings((nobody.getsockname(),), "aya_rag", "aya_user", "secret-word")
        async with served(gone, embedder_url, tmp_path) as page:
            answer = await get(page, "/api/documents/1")
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
            assert answer.json()["error"]["hint"]
            assert "secret-word" not in answer.text
            assert (await get(page, "/api/status")).status_code == 200


async def test_an_answer_that_takes_too_long_ends(
    knowledge: Knowledge, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lock that somebody holds does not hold the page's connections for ever."""
    monkeypatch.setattr(web_base, "ANSWER_SECONDS", 0.5)
    async with knowledge.database.transaction() as connection:
        await connection.execute("LOCK TABLE documents IN ACCESS EXCLUSIVE MODE")
        assert (await get(page, "/api/documents/1")).status_code == 503
    assert (await get(page, "/api/documents/1")).status_code == 200


async def test_a_look_measures_the_database(knowledge: Knowledge, page: Page, tmp_path: Path) -> None:
    """A document that waits has an age; a home without nodes has no more to tell."""
    async with knowledge.database.connection() as connection:
        await connection.execute("INSERT INTO documents (content) VALUES ('waits')")
    await page.watcher.look()
    assert page.watcher.last is not None
    assert page.watcher.last.base is not None
    assert page.watcher.last.base.queue_age_seconds > 0
    exposition = (await get(page, "/metrics")).text
    assert "aya_conflicts_open 0.0" in exposition
    assert "aya_looks_total 1.0" in exposition


async def test_a_limit_that_is_crossed_is_told_once(knowledge: Knowledge, page: Page, tmp_path: Path) -> None:
    """Of the real disk, and of a document that waits; and once more when the limit is moved."""
    home = Home(tmp_path)
    home.node_directory("alpha").mkdir(parents=True)
    home.save_nodes({"alpha": Node("alpha", "primary", 1, 2)})
    home.save_secrets("alpha", {"aya_user": "of nobody's"})
    limits = "[alerts.limits]\ndisk = {}\nqueue_minutes = 0.000001\n"
    home.config_file.write_text(limits.format(0.0001))
    async with knowledge.database.connection() as connection:
        await connection.execute("INSERT INTO documents (content) VALUES ('waits')")
    with capture_logs() as logged:
        watcher = Watcher(home, "alpha", page.base, Limits(lasts=0.0))
        await watcher.look()
        await watcher.look()
        home.config_file.write_text(limits.format(0))
        await watcher.look()
    told = [(entry["event"], entry["limit"], entry["of"]) for entry in logged if entry["event"].startswith("limit.")]
    assert told == [
        ("limit.crossed", "disk", "alpha"), ("limit.crossed", "queue_minutes", "alpha"),
        ("limit.recovered", "disk", "alpha"),
    ]  # fmt: skip
    assert watcher.last is not None
    assert watcher.last.disks["alpha"].size > 0


def described() -> dict[str, Any]:
    """Return the document of the calls; nothing of it needs what is behind them."""
    settings = NodeSettings("alpha", DatabaseSettings((("127.0.0.1", 1),), "a", "b"), "http://127.0.0.1:1")

    async def inside() -> dict[str, Any]:
        async with Base(settings, None) as base:
            watcher = Watcher(Home(Path("/nowhere")), "alpha", base)
            return create_app(Home(Path("/nowhere")), base, watcher, Metrics(watcher)).openapi()

    return asyncio.run(inside())


schema = schemathesis.openapi.from_dict(described())


@pytest.fixture(scope="module")
def fuzzed(server: Any, embedder_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:  # noqa: ANN401
    """A page over the template's own schema, on a thread and a socket of its own."""
    directory = tmp_path_factory.mktemp("fuzzed")
    loop = asyncio.new_event_loop()
    urls: list[str] = []
    begun, stop = threading.Event(), asyncio.Event()

    async def serve() -> None:
        await server.run_as_superuser("CREATE DATABASE aya_fuzzed OWNER aya_user TEMPLATE aya_template")
        told = server.settings("aya_fuzzed")
        async with EmbedderClient(embedder_url) as embedder, Database(told, application_name="aya-test") as pool:
            await bind(told, await embedder.identity())
            await Documents(pool, embedder).add(NewDocument(HOSTILE))
        async with served(told, embedder_url, directory) as page:
            urls.append(page.url)
            begun.set()
            await stop.wait()
        await server.run_as_superuser("DROP DATABASE aya_fuzzed WITH (FORCE)")

    thread = threading.Thread(target=loop.run_until_complete, args=[serve()])
    thread.start()
    assert begun.wait(20)
    yield urls[0]
    loop.call_soon_threadsafe(stop.set)
    thread.join()
    loop.close()


@pytest.mark.slow
@schema.parametrize()  # pyright: ignore[reportUnknownMemberType, reportUntypedFunctionDecorator]
@settings(
    max_examples=25,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)
def test_calls_answer_as_described(case: schemathesis.Case[Any], fuzzed: str) -> None:
    """No answer is a server error that nobody explains, and each has a status and a shape that the document names."""
    case.call_and_validate(base_url=fuzzed)  # pyright: ignore[reportUnknownMemberType]


@pytest.mark.parametrize(
    ("environ", "toml", "said"),
    [
        ({"AYA_WEB_HOST": "0.0.0.0"}, "", "there is no token"),  # noqa: S104
        ({}, '[web]\nhost = "::"\n', "there is no token"),
        ({"AYA_WEB_TOKEN": "x"}, "", "no place for a secret"),
        ({"AYA_WEB_PORT": "0"}, "", "is not a port"),
        ({"AYA_WEB_ALLOWED_HOSTS": "a b"}, "", "neither a host's name nor an address"),
        ({}, "[web]\ncolour = 1\n", "has no key 'colour'"),
    ],
)
def test_settings_that_cannot_be_used(tmp_path: Path, environ: dict[str, str], toml: str, said: str) -> None:
    """An address that others reach needs a token, and a token needs a file."""
    (tmp_path / "aya.toml").write_text(toml, encoding="utf-8")
    with pytest.raises(Exception, match=said):
        Config.from_environ({"AYA_HOME": str(tmp_path), **environ})


def test_settings_from_the_home(tmp_path: Path) -> None:
    """[web] in aya.toml, whose file is found from where it stands; the environment wins."""
    told = {"host": "0.0.0.0", "token_file": "web.token", "allowed_hosts": ["alpha.local"]}  # noqa: S104
    lines = "".join(f"{name} = {json.dumps(value)}\n" for name, value in told.items())
    (tmp_path / "aya.toml").write_text(f"[web]\n{lines}", encoding="utf-8")
    config = Config.from_environ({"AYA_HOME": str(tmp_path)})
    assert (config.host, config.token_file, config.port) == ("0.0.0.0", tmp_path / "web.token", 8767)  # noqa: S104
    assert config.allowed_hosts == {"alpha.local"}
    nearer = Config.from_environ({"AYA_HOME": str(tmp_path), "AYA_WEB_HOST": "127.0.0.1", "AYA_WEB_PORT": "20001"})
    assert (nearer.host, nearer.port) == ("127.0.0.1", 20001)


async def test_every_metric_of_the_page_is_documented(page: Page) -> None:
    """Nobody reads our code to learn what a number means; and nothing is described that is not told."""
    await get(page, "/api/status")
    told = {line.split(" ")[2] for line in (await get(page, "/metrics")).text.splitlines() if line.startswith("# TYPE")}
    ours = {name for name in told if name.startswith("aya_") and not name.endswith("_created")}
    text = METRICS.read_text(encoding="utf-8")
    described = set(re.findall(r"`(aya_[a-z_]+[a-z])`", text.partition("## Of the page")[2].partition("## What to")[0]))
    assert described - {name for name in described if name in ours} == NOT_SEEN_HERE
    assert ours <= described


METRICS = Path(__file__).parents[2] / "docs" / "operations" / "metrics.md"
# Of servers that archive: the nodes that were made up for these tests do not.
NOT_SEEN_HERE = {"aya_archived_segments_total", "aya_archive_failures_total"}


async def test_whoever_takes_long_to_say_what_he_wants_is_cut(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    """A head that never ends holds no connection."""
    monkeypatch.setattr(door, "HEAD_SECONDS", 0.3)
    host, port = page.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET / HTTP/1.1\r\nhost: 127.0.0.1\r\n")
    assert await asyncio.wait_for(_rest(reader), 5) == b""
    writer.close()


async def test_there_are_only_so_many_connections(page: Page) -> None:
    """Who comes on top is cut; when others have left there is room again."""
    host, port = page.url.removeprefix("http://").split(":")
    opened = [await asyncio.open_connection(host, int(port)) for _ in range(door.MOST_CONNECTIONS)]
    reader, writer = await asyncio.open_connection(host, int(port))
    assert await asyncio.wait_for(_rest(reader), 5) == b""
    for _, each in (*opened, (reader, writer)):
        each.close()
    await asyncio.sleep(0.2)
    assert (await get(page, "/health")).status_code == 200


async def test_a_head_is_bounded(page: Page) -> None:
    """One of a megabyte is refused, or cut off, long before its end."""
    host, port = page.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        b"GET /api/search?q=" + 1_000_000 * b"a" + b" HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n"
    )
    said = await asyncio.wait_for(_rest(reader), 5)
    assert said == b"" or said.startswith(b"HTTP/1.1 4")
    writer.close()


async def _rest(reader: asyncio.StreamReader) -> bytes:
    """Return what comes until the end, which may be a rude one."""
    try:
        return await reader.read()
    except ConnectionError:
        return b""
