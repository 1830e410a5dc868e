"""The demo: three nodes, real documents, questions through the real MCP server, nothing left running.

Usage: demo.py [DOCS]. It drives the same `aya` and the same stdio server as a person and an IDE do.
"""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

ROOT = Path(__file__).resolve().parent.parent
AYA = Path(sys.executable).parent / "aya"
NOTES = ROOT / "examples" / "notes"
QUESTIONS = ROOT / "examples" / "questions.txt"
MOST_QUESTIONS = 6
WIDTH = 96
# Ctrl-C, kill, and a terminal that is closed: each leaves through the finally blocks.
ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
Handler = Callable[[int, FrameType | None], Any] | signal.Handlers
WRITTEN_OFFLINE = "Written on the train: AIR has no network, and goes on with everything it has."
WRITTEN_MEANWHILE = "This was written while ALPHA was off: BETA had taken over."
BACK_SECONDS = 60.0
LEARNED = "The demo was run on this machine: AYA answered through its MCP server and left nothing running."


def main(docs: str) -> int:
    """Run the demo on `docs` ("" for the notes that are shipped); return the exit code."""
    folder = Path(docs) if docs else NOTES
    if not folder.exists():
        return fail(f"{folder} does not exist", "make demo DOCS=~/notes")
    began = time.perf_counter()
    with home() as directory:
        environment = {**os.environ, "AYA_HOME": str(directory)}
        for name in ("DB_HOST", "EMBEDDING_URL", "AYA_NODE", "AYA_DSN"):
            environment.pop(name, None)
        try:
            with stopped_at_the_end(environment):
                show(environment, folder, own=bool(docs))
        except subprocess.CalledProcessError as error:
            return fail(f"`aya {' '.join(error.cmd[1:3])}` failed (see above)", "AYA_DEBUG=1 make demo")
    say(f"\nDone in {time.perf_counter() - began:.0f} s; nothing is left running. Next, for good:\n")
    aya = os.path.relpath(AYA)
    for line in (f"{aya} up --detach", f"{aya} add ~/notes", f'{aya} search "what you want to know"', f"{aya} --help"):
        say(f"    {line}")
    return 0


def run(docs: str) -> int | str | None:
    """Run the demo; return what is given to sys.exit, also when a task group has wrapped what ended it."""
    try:
        return main(docs)
    except BaseExceptionGroup as group:
        ended = group.subgroup(SystemExit)
        if ended is None:
            raise
        leaf: BaseException = ended
        while isinstance(leaf, BaseExceptionGroup):
            leaf = leaf.exceptions[0]
        return leaf.code if isinstance(leaf, SystemExit) else 1


def show(environment: dict[str, str], folder: Path, *, own: bool) -> None:
    """Everything between the empty home and the stop."""
    step("Start ALPHA, BETA and AIR on this machine (PostgreSQL 18, pgvector, MLX)")
    aya(environment, "up", "--detach")
    step(f"Add {folder}")
    added = aya(environment, "add", str(folder), allowed=(0, 1) if own else (0,))
    if added:
        say("Some files were not taken in, for the reasons above; the others are searchable.")
    step("Ask through the MCP server, as an IDE does")
    asyncio.run(ask(environment, own_questions(environment) if own else shipped_questions()))
    step("Ask in the terminal")
    aya(environment, "search", "-k", "1", "how do I keep my hands from hurting at the keyboard")
    step("Look at the nodes")
    aya(environment, "status", allowed=(0, 3))
    step("Take AIR offline, write there, come back: ALPHA has it")
    work_offline(environment)
    step("Pull ALPHA's plug: BETA takes over; put it back: ALPHA follows")
    fail_over(environment)


def work_offline(environment: dict[str, str]) -> None:
    """Have the person with AIR on a train: what is added there is found there, and is on alpha after the ride."""
    on_air = {**environment, "AYA_NODE": "air"}
    aya(environment, "sync", "now")
    aya(environment, "dev", "offline", "air")
    aya(on_air, "add", "--text", WRITTEN_OFFLINE)
    aya(on_air, "search", "-k", "1", "what was written on the train")
    aya(environment, "dev", "online", "air")
    began = time.perf_counter()
    aya(environment, "sync", "now")
    say(f"on alpha {time.perf_counter() - began:.1f} s after AIR was online again, the start of the command included")
    aya(environment, "search", "-k", "1", "what was written on the train")


def fail_over(environment: dict[str, str]) -> None:
    """Have alpha fail and come back, with the times that it took. The person who writes meanwhile sits at beta."""
    at_beta = {**environment, "AYA_NODE": "beta"}
    aya(environment, "dev", "kill", "alpha")
    began = time.perf_counter()
    aya(at_beta, "add", "--text", WRITTEN_MEANWHILE)
    say(f"written {time.perf_counter() - began:.1f} s after the plug was pulled, the start of the command included")
    aya(environment, "dev", "heal", "alpha")
    began = time.perf_counter()
    while time.perf_counter() - began < BACK_SECONDS and conditions(environment) != {"SYNC", "ARMED"}:
        time.sleep(0.5)
    say(f"both have every row again {time.perf_counter() - began:.1f} s later")
    aya(environment, "history")
    aya(at_beta, "search", "-k", "1", "what was written while ALPHA was off")


def conditions(environment: dict[str, str]) -> set[str]:
    """Return the conditions of the two servers, as `aya status` says."""
    shown = subprocess.run([AYA, "status", "--json"], env=environment, check=False, capture_output=True)
    nodes = json.loads(shown.stdout)["nodes"]
    return {node["failover"]["condition"] for node in nodes if node["failover"]}


async def ask(environment: dict[str, str], questions: list[tuple[str, str | None]]) -> None:
    """Ask the questions over stdio, add one document, find it again; print answers, sources and timings."""
    server = StdioServerParameters(
        command=str(AYA), args=["mcp", "serve"], env={**environment, "AYA_LOG_LEVEL": "warning"}
    )
    began = time.perf_counter()
    async with Client(stdio_client(server)) as client:
        say(f"connected in {milliseconds(began)}")
        right = 0
        for question, expected in questions:
            right += await ask_one(client, question, expected)
        if questions and questions[0][1] is not None:
            say(f"\n{right} of {len(questions)} answers came from the expected note")
        began = time.perf_counter()
        added = await call(client, "add_to_aya_rag", {"content": LEARNED, "category": "demo"})
        say(f"\nadded document {added['document_id']} through MCP in {milliseconds(began)}; asking for it:")
        await ask_one(client, "was the demo run on this machine?", None)


async def ask_one(client: Client, question: str, expected: str | None) -> bool:
    """Ask one question and print its best passage; return whether it came from the expected file."""
    began = time.perf_counter()
    answer = await call(client, "query_aya_rag", {"query": question, "limit": 1})
    took = milliseconds(began)
    say(f"\n  {bold('Q')} {question}")
    if not answer["results"]:
        say("    nothing found")
        return False
    hit = answer["results"][0]
    place = hit["metadata"].get("path") or hit["source"]
    heading = f" > {hit['heading']}" if hit.get("heading") else ""
    passage = textwrap.shorten(hit.get("snippet") or hit["chunk_text"], 2 * WIDTH, placeholder=" …")
    say(textwrap.fill(passage, WIDTH, initial_indent="    ", subsequent_indent="    "))
    say(f"    {place}{heading} · distance {hit['distance']:.3f} · {took}")
    return place == expected


async def call(client: Client, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Call a tool and return its structured content; an error ends the demo with its words."""
    result = await client.call_tool(tool, arguments)
    if result.is_error or result.structured_content is None:
        sys.exit(f"demo: {tool} failed: {result.content}")
    return dict(result.structured_content)


def shipped_questions() -> list[tuple[str, str | None]]:
    """Return the questions that the shipped notes answer, each with the file that does."""
    lines = QUESTIONS.read_text(encoding="utf-8").splitlines()
    pairs = [line.split("\t") for line in lines if line.strip()]
    return [(question, path) for question, path in pairs]


def own_questions(environment: dict[str, str]) -> list[tuple[str, str | None]]:
    """Questions about a person's own documents, made from the titles of the newest."""
    listed = subprocess.run([AYA, "list", "--json", "-n", "50"], env=environment, check=True, capture_output=True)
    titles = [document["title"] for document in json.loads(listed.stdout)["documents"] if document["title"]]
    return [(f"What do my notes say about {title}?", None) for title in titles[:MOST_QUESTIONS]]


@contextmanager
def home() -> Iterator[Path]:
    """Make a directory for the demo that PostgreSQL's unprivileged user can enter; it is removed at the end."""
    directory = Path(tempfile.mkdtemp(prefix="aya-demo-"))
    directory.chmod(0o755)
    answer_with(interrupted)
    try:
        yield directory
    finally:
        if os.environ.get("KEEP"):
            say(f"kept: AYA_HOME={directory}")
        else:
            shutil.rmtree(directory)


@contextmanager
def stopped_at_the_end(environment: dict[str, str]) -> Iterator[None]:
    """Stop everything when the block ends, however it ends; the signals are ignored meanwhile, by `aya down`, too."""
    try:
        yield
    finally:
        answer_with(signal.SIG_IGN)
        step("Stop everything")
        aya(environment, "down")


def interrupted(signum: int, frame: FrameType | None) -> NoReturn:
    """Leave through the finally blocks, so that nothing is left running; a second signal changes nothing."""
    del frame
    answer_with(signal.SIG_IGN)
    sys.exit(128 + signum)


def answer_with(handler: Handler) -> None:
    """Handle the signals that end the demo; what the one who started it ignores (nohup) stays ignored."""
    for signum in ENDINGS:
        if signal.getsignal(signum) is not signal.SIG_IGN:
            signal.signal(signum, handler)


@contextmanager
def postponed() -> Iterator[None]:
    """Have a signal wait until the block ends."""
    came: list[int] = []
    answer_with(lambda signum, _: came.append(signum))
    yield
    answer_with(interrupted)
    if came:
        interrupted(came[0], None)


def aya(environment: dict[str, str], *arguments: str, allowed: tuple[int, ...] = (0,)) -> int:
    """Show and run one command of AYA; CalledProcessError unless its exit code is allowed.

    When the demo is interrupted meanwhile, the command is asked to end, once, and waited for: it cleans up.
    """
    say(f"$ aya {shlex.join(arguments)}")
    process = None
    try:
        # Or a command would be begun that nobody knows of.
        with postponed():
            # A group of its own: Ctrl-C in the terminal reaches the demo alone.
            process = subprocess.Popen([AYA, *arguments], env=environment, process_group=0)
        code = process.wait()
    except BaseException:
        if process is not None:
            process.terminate()
            process.wait()
        raise
    if code not in allowed:
        raise subprocess.CalledProcessError(code, [str(AYA), *arguments])
    return code


def step(text: str) -> None:
    """Print the headline of a step."""
    say(f"\n{bold('== ' + text)}")


def fail(what: str, following: str) -> int:
    """Say what went wrong and what to type next."""
    sys.stderr.write(f"demo: {what}\n  next: {following}\n")
    return 1


def bold(text: str) -> str:
    """Return `text` in bold on a terminal."""
    return f"\x1b[1m{text}\x1b[0m" if sys.stdout.isatty() and not os.environ.get("NO_COLOR") else text


def milliseconds(began: float) -> str:
    """Return the time since `began` in words."""
    return f"{1000 * (time.perf_counter() - began):.0f} ms"


def say(text: str) -> None:
    """Print one line now, so that it stands in order with what `aya` prints."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(run(sys.argv[1] if len(sys.argv) > 1 else ""))
