"""Where a process finds its database: who wins, what is understood, and what is never said aloud."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aya.cli.dsn import libpq_dsn
from aya.dsn import DatabaseSettings, parse_dsn, parse_port
from aya.errors import ConfigError
from aya.home import Home, Node
from aya.settings import Config, as_role, load_config, node_settings

ALPHA = Node("alpha", "primary", 15432, 18765)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home with one node and its passwords."""
    home = Home(tmp_path)
    home.save_nodes({"alpha": ALPHA})
    home.save_secrets("alpha", {"aya_user": "of the node", "aya_mcp": "of mcp"})
    return home


def configured(home: Home, text: str) -> Home:
    """Write aya.toml."""
    home.config_file.write_text(text, encoding="utf-8")
    return home


# Who wins

TOML = '[postgres]\ndsn = "postgresql://toml@toml-host/toml"\n'
DSN = {"AYA_DSN": "postgresql://dsn@dsn-host:6000/dsn"}
NAMES = {"DB_HOST": "names-host", "DB_PORT": "7000", "DB_NAME": "names", "DB_USER": "me", "DB_PASSWORD": "pw"}


@pytest.mark.parametrize(
    ("toml", "environ", "expected"),
    [
        ("", {}, "postgresql://aya_user@127.0.0.1:15432/aya_rag"),
        (TOML, {}, "postgresql://toml@toml-host:5432/toml"),
        (TOML, DSN, "postgresql://dsn@dsn-host:6000/dsn"),
        (TOML, DSN | NAMES, "postgresql://me@names-host:7000/names"),
        ("", {"DB_HOST": "h"}, "postgresql://aya_user@h:5432/aya_rag"),
        ("", NAMES | {"DB_HOST": "a, b"}, "postgresql://me@a:7000,b:7000/names?target_session_attrs=read-write"),
        ("", NAMES | {"DB_HOST": ""}, "postgresql://aya_user@127.0.0.1:15432/aya_rag"),
        ("", NAMES | {"DB_HOST": "/run/postgresql"}, "postgresql://me@%2Frun%2Fpostgresql:7000/names"),
    ],
)
def test_the_environments_names_win_over_a_dsn_over_the_file_over_the_node(
    home: Home, toml: str, environ: Mapping[str, str], expected: str
) -> None:
    """The contract's DB_HOST first, then AYA_DSN, then aya.toml, then the node of this home."""
    assert node_settings(configured(home, toml), "alpha", environ=environ).database.display() == expected


def test_a_node_is_entered_as_the_role_asked_for(home: Home) -> None:
    """Each service brings its own role, with that role's password."""
    database = node_settings(home, "alpha", role="aya_mcp", environ={}).database
    assert (database.user, database.password) == ("aya_mcp", "of mcp")


@pytest.mark.parametrize(
    ("environ", "url"),
    [
        ({}, "http://127.0.0.1:18765"),
        ({"EMBEDDING_URL": "http://e:1"}, "http://e:1"),
        (DSN, "http://127.0.0.1:18765"),
        (NAMES, "http://127.0.0.1:8765"),
        (NAMES | {"EMBEDDING_URL": "http://e:1"}, "http://e:1"),
    ],
)
def test_the_embedder_is_the_nodes_own_unless_named(home: Home, environ: Mapping[str, str], url: str) -> None:
    """EMBEDDING_URL wins; a database named by DB_HOST goes with the contract's port."""
    assert node_settings(home, "alpha", environ=environ).embedder_url == url


@pytest.mark.parametrize("environ", [{}, DSN, NAMES])
def test_the_embedders_token_is_read_from_its_file_and_not_shown(
    home: Home, tmp_path: Path, environ: Mapping[str, str]
) -> None:
    """However the database is found; the file is named, its content is in no repr."""
    file = tmp_path / "embedder.token"
    file.write_text("0123456789abcdef\n")
    file.chmod(0o600)
    settings = node_settings(home, "alpha", environ={**environ, "AYA_EMBEDDER_TOKEN_FILE": str(file)})
    assert settings.embedder_token == "0123456789abcdef"
    assert "0123456789" not in repr(settings)
    assert node_settings(home, "alpha", environ=environ).embedder_token is None


def test_a_dsn_needs_no_home(tmp_path: Path) -> None:
    """On a machine without AYA_HOME the environment is enough, and the embedder is the contract's."""
    settings = node_settings(Home(tmp_path / "none"), "beta", environ=DSN)
    assert (settings.node, settings.embedder_url) == ("beta", "http://127.0.0.1:8765")


@pytest.mark.parametrize(
    ("node", "role", "environ", "words"),
    [
        ("beta", "aya_user", {}, "no node 'beta'"),
        ("alpha", "aya_indexer", {}, "no password for role aya_indexer"),
        ("alpha", "aya_user", {"DB_HOST": " , "}, "names no host"),
        ("alpha", "aya_user", {"DB_HOST": "h", "DB_PORT": "five"}, "'five' is not a port"),
        ("alpha", "aya_user", {"AYA_DSN": "mysql://x"}, "not of the form"),
        ("alpha", "aya_user", {"EMBEDDING_URL": "127.0.0.1:8765"}, "EMBEDDING_URL .* not of the form"),
        ("alpha", "aya_user", {"EMBEDDING_URL": "http://h:99999"}, "EMBEDDING_URL .* not of the form"),
        ("alpha", "aya_user", {"EMBEDDING_URL": "http://"}, "EMBEDDING_URL .* not of the form"),
        ("alpha", "aya_user", {"AYA_EMBEDDER_TOKEN_FILE": "/dev/null"}, "token file /dev/null is no file"),
    ],
)
def test_what_is_missing_or_wrong_is_named(
    home: Home, node: str, role: str, environ: Mapping[str, str], words: str
) -> None:
    """An unusable setting ends in one sentence with the next command."""
    with pytest.raises(ConfigError, match=words) as caught:
        node_settings(home, node, role=role, environ=environ)
    assert caught.value.hint


def test_another_role_keeps_the_address(home: Home) -> None:
    """Only the user and the password change."""
    owner = node_settings(home, "alpha", environ={}).database
    assert as_role(owner, "r", "p") == replace(owner, user="r", password="p")


# aya.toml


def test_without_a_file_the_defaults_hold(tmp_path: Path) -> None:
    """AYA_HOME may be empty: PostgreSQL 18, embedded, with MiniLM."""
    assert load_config(Home(tmp_path), {}) == Config(postgres_major=18, pg_config=None, dsn=None, model="minilm")


def test_the_environment_wins_over_the_file(home: Home) -> None:
    """Every key has its variable; an empty variable counts as unset."""
    text = '[postgres]\nmajor = 16\npg_config = "/a/pg_config"\ndsn = "postgresql://f/d"\n[embedder]\nmodel = "bge"\n'
    configured(home, text)
    assert load_config(home, {}) == Config(16, "/a/pg_config", "postgresql://f/d", "bge")
    empty = {"AYA_PG_MAJOR": "", "AYA_PG_CONFIG": "", "AYA_DSN": "", "AYA_MODEL": ""}
    assert load_config(home, empty) == load_config(home, {})
    environ = {"AYA_PG_MAJOR": "17", "AYA_PG_CONFIG": "/b", "AYA_DSN": "postgresql://e/d", "AYA_MODEL": "m"}
    assert load_config(home, environ) == Config(17, "/b", "postgresql://e/d", "m")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[postgres\n", "cannot be read"),
        ('[postgres]\ndns = "x"\n', r"\[postgres\] has no key 'dns' \(it knows dsn, major, pg_config\)"),
        ("[postgers]\n", "unknown entry 'postgers'"),
        ("model = 1\n", "unknown entry 'model'"),
        ("postgres = 18\n", "unknown entry 'postgres'"),
        ("[embedder]\nmodel = 5\n", "model must be a string, not int"),
        ("[postgres]\ndsn = ['a']\n", "dsn must be a string, not list"),
        ("[postgres]\nmajor = 15\n", "PostgreSQL 15 is not supported"),
        ("[postgres]\nmajor = true\n", "PostgreSQL True is not supported"),
        ('[postgres]\nmajor = "new"\n', "PostgreSQL 'new' is not supported"),
    ],
)
def test_a_file_that_is_wrong_is_refused_in_words(home: Home, text: str, words: str) -> None:
    """An unknown key is no comment: a misspelt one would be ignored for ever."""
    with pytest.raises(ConfigError, match=words):
        load_config(configured(home, text), {})


def test_a_file_in_another_encoding_is_refused_by_name(home: Home) -> None:
    """Bytes that are not UTF-8 end in a sentence with the file's path."""
    home.config_file.write_bytes(b'[embedder]\nmodel = "\xff"\n')
    with pytest.raises(ConfigError, match=r"aya\.toml cannot be read"):
        load_config(home, {})


# DSNs


@pytest.mark.parametrize(
    ("dsn", "expected"),
    [
        ("postgresql://u:p@h:1/d", DatabaseSettings((("h", 1),), "d", "u", "p")),
        ("postgres://u@h/d", DatabaseSettings((("h", 5432),), "d", "u")),
        ("postgresql://h", DatabaseSettings((("h", 5432),), "aya_rag", "aya_user")),
        ("postgresql://u@:6000/d", DatabaseSettings((("127.0.0.1", 6000),), "d", "u")),
        ("postgresql://u@a:1,b,c:3/d", DatabaseSettings((("a", 1), ("b", 5432), ("c", 3)), "d", "u")),
        ("postgresql://u@[::1]/d", DatabaseSettings((("::1", 5432),), "d", "u")),
        ("postgresql://u@10.0.0.1:1,[fd7a::2]:2/d", DatabaseSettings((("10.0.0.1", 1), ("fd7a::2", 2)), "d", "u")),
        ("postgresql://u@%2Frun%2Fpg:1/d", DatabaseSettings((("/run/pg", 1),), "d", "u")),
        ("postgresql://u:a%2Fb%3F%23%40%3A@h/d", DatabaseSettings((("h", 5432),), "d", "u", "a/b?#@:")),
        ("postgresql://u:a@b:c@h/d", DatabaseSettings((("h", 5432),), "d", "u", "a@b:c")),
        ("postgresql://u:\u2100@h/d", DatabaseSettings((("h", 5432),), "d", "u", "\u2100")),
        ("postgresql://u@h/a%20b%2Fc", DatabaseSettings((("h", 5432),), "a b/c", "u")),
        (
            "postgresql://u@h/d?target_session_attrs=read-write&application_name=a%26b",
            DatabaseSettings(
                (("h", 5432),), "d", "u", None, (("target_session_attrs", "read-write"), ("application_name", "a&b"))
            ),
        ),
    ],
)
def test_a_dsn_is_understood(dsn: str, expected: DatabaseSettings) -> None:
    """Hosts, ports, IPv6, sockets, options, and every sign in a password."""
    assert parse_dsn(dsn) == expected


def test_what_aya_dsn_prints_is_taken() -> None:
    """Its limits are libpq's, which our driver would send to the server."""
    settings = DatabaseSettings((("a", 1), ("b", 2)), "d", "u", "p", (("target_session_attrs", "read-write"),))
    assert "connect_timeout" in libpq_dsn(settings)
    assert parse_dsn(libpq_dsn(settings)) == settings


@pytest.mark.parametrize(
    "dsn",
    [
        "",
        "h",
        "mysql://u:secret@h/d",
        "postgresql:///d",
        "postgresql://u:secret@h:0/d",
        "postgresql://u:secret@h:65536/d",
        "postgresql://u:secret@h:x/d",
        "postgresql://u:secret@h:" + "9" * 5000,
        "postgresql://u:secret@[::1]x/d",
        "postgresql://u:secret/slash@h/d",
        "postgresql://u:12/secret@h/d",
        "postgresql://u:12?secret@h/d",
        "postgresql://u:12#secret@h/d",
        "postgresql://u:a@secret/b@h/d",
        "postgresql://u:12@h/d#secret",
    ],
)
def test_a_dsn_that_is_wrong_is_refused_without_its_password(dsn: str) -> None:
    """The sentence says what is wrong, and no part of a password, quoted or not."""
    with pytest.raises(ConfigError, match=r"DSN|not a port") as caught:
        parse_dsn(dsn)
    assert "secret" not in f"{caught.value.message} {caught.value.hint}"


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=20)
HOST = st.one_of(
    st.from_regex(r"[a-z0-9]([a-z0-9.-]{0,20}[a-z0-9])?", fullmatch=True),
    st.ip_addresses().map(str),
    st.just("/run/postgresql"),
)


@given(
    st.builds(
        DatabaseSettings,
        hosts=st.lists(st.tuples(HOST, st.integers(1, 65535)), min_size=1, max_size=4).map(tuple),
        database=TEXT,
        user=TEXT,
        password=st.none() | TEXT,
        options=st.lists(st.tuples(TEXT, TEXT), max_size=3).map(tuple),
    )
)
def test_settings_survive_their_own_dsn(settings: DatabaseSettings) -> None:
    """Whatever the names and the password hold, the DSN says it and is read back as the same."""
    assert parse_dsn(settings.dsn()) == settings


def test_the_password_is_in_the_dsn_and_nowhere_else() -> None:
    """Neither repr nor display shows it, so no log and no message can."""
    settings = DatabaseSettings((("h", 1),), "d", "u", "hunter2")
    assert "hunter2" in settings.dsn()
    assert "hunter2" not in f"{settings} {settings!r} {settings.display()}"
    config = Config(dsn=settings.dsn())
    assert "hunter2" not in f"{config} {config!r}"


@pytest.mark.parametrize(("text", "port"), [("1", 1), ("65535", 65535), ("05432", 5432)])
def test_a_port_is_a_number_from_1_to_65535(text: str, port: int) -> None:
    """Leading zeros do no harm."""
    assert parse_port(text) == port


@pytest.mark.parametrize("text", ["", "0", "-1", "+1", "65536", "1.0", " 1", "1\n", "five", "\u0663", "9" * 5000])
def test_what_is_no_port_is_refused(text: str) -> None:
    """Neither signs, blanks nor figures of other scripts."""
    with pytest.raises(ConfigError, match="is not a port"):
        parse_port(text)


def test_the_process_environment_is_the_default(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Services pass nothing and get what their environment says."""
    for name in [name for name in os.environ if name.startswith(("DB_", "AYA_"))]:
        monkeypatch.delenv(name)
    assert node_settings(home, "alpha").database.hosts == (("127.0.0.1", 15432),)


# Several servers

BETA = Node("beta", "standby", 25432, 28765)
AIR = Node("air", "copy", 35432, 38765)
CLUSTER = """[cluster.alpha]
addresses = ["10.0.0.1", "fd00::1"]
[cluster.beta]
addresses = ["10.0.0.2", "beta.tailnet"]
postgres_port = 6000
"""


@pytest.fixture
def pair(home: Home) -> Home:
    """A home with all three nodes on this machine."""
    home.save_nodes({"alpha": ALPHA, "beta": BETA, "air": AIR})
    for node in ("beta", "air"):
        home.save_secrets(node, home.secrets("alpha"))
    return home


@pytest.mark.parametrize(
    ("node", "toml", "database", "local"),
    [
        ("alpha", "", "127.0.0.1:15432,127.0.0.1:25432/aya_rag?target_session_attrs=read-write", "127.0.0.1:15432"),
        ("beta", "", "127.0.0.1:25432,127.0.0.1:15432/aya_rag?target_session_attrs=read-write", "127.0.0.1:25432"),
        ("air", "", "127.0.0.1:35432/aya_rag", "127.0.0.1:35432"),
        (
            "alpha",
            CLUSTER,
            "127.0.0.1:15432,10.0.0.2:6000,beta.tailnet:6000/aya_rag?target_session_attrs=read-write",
            "127.0.0.1:15432",
        ),
        ("air", CLUSTER, "127.0.0.1:35432/aya_rag", "127.0.0.1:35432"),
    ],
)
def test_a_server_that_may_lead_is_written_wherever_the_leader_is(
    pair: Home, node: str, toml: str, database: str, local: str
) -> None:
    """Its own server first, then every address of its partner; air is alone. What is local stays local."""
    settings = node_settings(configured(pair, toml), node, environ={})
    assert settings.database.display() == f"postgresql://aya_user@{database}"
    assert settings.local.display() == f"postgresql://aya_user@{local}/aya_rag"
    assert (settings.near.hosts, settings.near.options) == (settings.database.hosts, ())


def test_who_asks_for_a_certain_server_gets_that_one(home: Home) -> None:
    """A DSN with its own target_session_attrs is taken as it is; without one, several hosts mean the leader."""
    given = "postgresql://u@a:1,b:2/d?target_session_attrs=standby"
    assert node_settings(home, "alpha", environ={"AYA_DSN": given}).database.display() == given
    settings = node_settings(home, "alpha", environ={"AYA_DSN": "postgresql://u@a:1,b:2/d"})
    assert settings.database.options == (("target_session_attrs", "read-write"),)
    assert settings.local.options == ()
