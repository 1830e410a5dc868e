"""What one client may ask for, and how long it may take; each figure with its reason.

All of it holds for every request alike: one big request is refused by the same rule, and in the same words, as many
small ones.
"""

from __future__ import annotations

from dataclasses import dataclass

# 2048 texts of a full window (512 tokens, about 2,500 characters) are 5 MB; base64 and vectors never come in.
MAX_BODY_BYTES = 8 * 1024 * 1024
# Of all requests that are being read or answered: eight of the largest. 1024 connections of 8 MiB are more than memory.
MAX_BODIES_BYTES = 8 * MAX_BODY_BYTES
# As OpenAI's: "any array must be 2048 dimensions or less".
MAX_TEXTS = 2048
# The longest text anybody has a use for: /tokenize is asked about parts of 200,000 to 400,000 characters (aya ingest).
# One run of 400,000 CJK characters takes the tokenizer 1.4 s; longer ones more than their share.
MAX_CHARACTERS = 400_000
# Of all texts together, as UTF-8, for that is what the tokenizer's time goes by (0.4 to 0.6 µs a byte on an x86 core,
# English and CJK alike): 0.7 s. A thousand passages of 1,200 letters fit; 2.7 MB of CJK (2.3 s) do not.
MAX_TEXT_BYTES = 1_250_000
# OpenAI's limit for one request.
MAX_TOKEN_IDS = 300_000
# A request's head: uvicorn's own figure is 64 KiB.
MAX_HEAD_BYTES = 16 * 1024
# plists allow 4096 files; nobody has so many clients, and each costs 64 KiB at worst until it is read. Whoever comes on
# top is accepted when one of these ends (door.py).
MAX_CONNECTIONS = 1024


@dataclass(frozen=True, slots=True)
class Patience:
    """How long the service waits for what, in seconds.

    head: for a new connection's first request line and headers, and for the rest of any that has begun.
    body: for a whole body. 8 MiB in 30 s is a bad mobile line.
    idle: for the next request on a connection; longer than clients keep one (5 s, httpx and OpenAI's), or they would
        write into a connection that is being closed. And for a client to read more of its answer.
    unread: for a client to end a request that is refused already, or, when the service leaves, to read more of its
        answer.
    work: for the vectors, from the whole body on. 2048 passages of a full window take MiniLM 290 s on two x86 cores.
    drain: for what was accepted, once the service is told to stop. The plist's ExitTimeOut is 30 s.
    reading: for bodies that are on their way then.
    farewell: for the refusals of what the drain had no time for.
    """

    head: float = 10
    body: float = 30
    idle: float = 75
    unread: float = 2
    work: float = 600
    drain: float = 22
    reading: float = 1
    farewell: float = 1
