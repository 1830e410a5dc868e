"""What is taken out of a report: secrets in every form, and what people have written."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aya.bugreport.redact import Redactor, without_knowledge

SECRET = 'pa/ss+w"örd=1'
REDACTOR = Redactor({"password of aya_user": SECRET, "short": "ab"}, "/Users/me")
WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=8, max_size=40)


@given(WORDS, st.text(max_size=20), st.text(max_size=20), st.integers(0, 2))
@example("12345678", "", "", 1)
def test_a_known_secret_is_found_in_every_form(secret: str, before: str, after: str, padding: int) -> None:
    """As it is, in JSON, in a URL, in base64 beside anything: nothing of it goes through, and leaks finds it."""
    redactor = Redactor({"it": secret})
    coded = base64.b64encode(b"x" * padding + secret.encode() + b"yz").decode()
    for form in (secret, json.dumps(secret), json.dumps(secret, ensure_ascii=False), quote(secret, safe=""), coded):
        text = f"{before}{form}{after}"
        assert redactor.leaks(text) == ["it"]
        assert redactor.leaks(redactor(text)) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgresql://me:hunter2@h/db", "postgresql://me:<password>@h/db"),
        ("Authorization: Bearer abcdefgh12345", "Authorization: Bearer <token>"),
        ('dsn = "x"\npassword = "hunter2"', 'dsn = "x"\npassword = "<removed>"'),
        ("DB_PASSWORD=hunter2 rest", "DB_PASSWORD=<removed> rest"),
        ("{'api_key': 'k', \"token\": null}", "{'api_key': '<removed>', \"token\": null}"),
        ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\nrest", "<key>\nrest"),
        ("-----BEGIN EC PRIVATE KEY-----\nAAAA", "<key>"),
        ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "<secret>"),
        ("SCRAM-SHA-256$4096:abc$def:ghi", "<verifier>"),
        ("/Users/me/.aya and /Users/meg and /Users/me", "~/.aya and /Users/meg and ~"),
        (f"x {SECRET} y", "x <password of aya_user> y"),
        (
            "primary_conninfo = 'host=h password=hunter2 user=u'",
            "primary_conninfo = 'host=h password=<removed> user=u'",
        ),
        ("10.0.0.1 ab tokenizer stays", "10.0.0.1 ab tokenizer stays"),
    ],
)
def test_what_looks_like_a_secret_is_taken_out(text: str, expected: str) -> None:
    """And nothing else."""
    assert REDACTOR(text) == expected


@given(st.text(max_size=200))
def test_any_text_is_redacted(text: str) -> None:
    """Also logs that are none."""
    REDACTOR.log(text)
    assert REDACTOR(REDACTOR(text)) == REDACTOR(text)


PREFIX = "2026-11-27 10:00:00.123 UTC [42] aya_user@aya_rag/aya-cli "


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("LOG:  checkpoint starting: time", "LOG:  checkpoint starting: time"),
        ('FATAL:  role "aya_air" does not exist', 'FATAL:  role "aya_air" does not exist'),
        ("DETAIL:  Key (word)=(illness) already exists.", "DETAIL:  <36 characters>"),
        ("LOG:  duration: 5.1 ms  statement: SELECT 'illness'", "LOG:  duration: 5.1 ms  statement: <16 characters>"),
        ("LOG:  00000: execute <unnamed>: SELECT 1", "LOG:  00000: execute <unnamed>: <8 characters>"),
        ('ERROR:  invalid input for integer: "illness"', 'ERROR:  invalid input for integer: "<7 characters>"'),
        ('ERROR:  column "illness" does not exist', 'ERROR:  column "<7 characters>" does not exist'),
        ('ERROR:  my "secret illness"', 'ERROR:  my "<14 characters>"'),
        ('ERROR:  my "secret\n\tillness"', 'ERROR:  my "<6 characters>\n\t<8 characters>'),
        ("STATEMENT:  SELECT *\n\tFROM illness\nnext", "STATEMENT:  <8 characters>\n\t<12 characters>\nnext"),
    ],
)  # fmt: skip
def test_of_a_servers_log_what_happened_stays(message: str, said: str) -> None:
    """Not what it happened to; names of roles and relations do."""
    assert REDACTOR.log(PREFIX + message) == PREFIX + said


def test_of_a_log_the_events_stay_and_the_knowledge_goes() -> None:
    """How long a text was helps; what it says does not."""
    line = '{"event": "search.done", "query": "my secret illness", "hits": 3, "uri": "file:///a/b.md", "node": "alpha"}'
    said = REDACTOR.log(f"plain\n{line}\n")
    assert said.startswith("plain\n")
    assert json.loads(said.splitlines()[1]) == {
        "event": "search.done", "query": "<17 characters>", "hits": 3, "uri": "<14 characters>", "node": "alpha",
    }  # fmt: skip
    nested = {"a": [{"title": "x", "content": None, "files": 3}]}
    assert without_knowledge(nested) == {"a": [{"title": "<1 characters>", "content": None, "files": 3}]}
