"""What `aya doctor` makes of what it sees: tables of observations and the findings that they give."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aya.doctor import (
    clock,
    configuration,
    disk,
    environment,
    model,
    network,
    permissions,
    secrets,
    services,
    sleep,
    stale,
)
from aya.doctor.findings import Finding
from aya.doctor.mends import Chmod, ForgetLock, RemoveSocketLock, RemoveTemporary
from aya.home import Node
from aya.members import Member
from aya.postgres import lockfile
from aya.processes.states import State


def ids(found: list[Finding]) -> list[str]:
    """Return the ids, in order."""
    return [one.id for one in found]


ALPHA = Node("alpha", "primary", 20001, 20002, 20003, 20004)
BETA = Node("beta", "standby", 20011, 20012, 20013, 20014)
MEMBERS = (
    Member("alpha", ("192.168.1.10", "100.64.0.1"), 5432, 8766, 8008),
    Member("beta", ("192.168.1.11", "100.64.0.2"), 5432, 8766, 8008),
)
RESOLVED = {address: (address,) for member in MEMBERS for address in member.addresses}
GOOD = configuration.Seen(
    "/home/ada/.aya", "/home/ada/.aya/aya.toml", "apfs", nodes=(ALPHA,), members=MEMBERS, clients=("100.64.0.0/10",),
    resolved=RESOLVED, own_addresses=frozenset({"127.0.0.1", "192.168.1.10", "100.64.0.1"}), user_home="/home/ada",
)  # fmt: skip


def members(*addresses: str) -> tuple[Member, ...]:
    """Return beta with these addresses."""
    return (Member("beta", addresses, 5432, 8766, 8008),)


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ({}, []),
        ({"nodes": ()}, ["configuration.no-nodes"]),
        ({"config_error": ("aya.toml has an unknown entry 'x'", "edit aya.toml")}, ["configuration.unreadable"]),
        ({"state_error": ("state.json was written by another version", "use it")}, ["configuration.state-unreadable"]),
        ({"postgres_error": ("it has no pgvector", "brew install pgvector")}, ["configuration.postgres-unusable"]),
        ({"hooks_missing": ("/no/hook",)}, ["configuration.hook-missing"]),
        ({"witnesses": ("router.local",)}, ["configuration.address-unknown"]),
        ({"secrets_errors": (("it is damaged", "restore it"),)}, ["configuration.secrets-unreadable"]),
        ({"nodes": (ALPHA, replace(BETA, embedder_port=20001)), "members": ()}, ["configuration.ports-clash"]),
        ({"nodes": (replace(ALPHA, embedder_port=20001),)}, ["configuration.ports-clash"]),
        ({"members": (Member("beta", ("192.168.1.11", "100.64.0.2"), 5432, 5432, 8008),)},
         ["configuration.ports-clash"]),
        ({"members": members("nowhere.local", "100.64.0.2")}, ["configuration.address-unknown"]),
        ({"members": members("127.0.0.1", "100.64.0.2"), "resolved": None}, ["configuration.address-local"]),
        ({"members": members("localhost", "100.64.0.2"), "resolved": None}, ["configuration.address-local"]),
        ({"members": members("beta.tail12.ts.net", "192.168.1.11"), "resolved": None}, ["configuration.tailnet-name"]),
        ({"members": members("192.168.1.11"), "resolved": None}, ["configuration.one-way"]),
        ({"own_addresses": frozenset({"192.168.1.99", "100.64.0.1"})}, ["configuration.address-elsewhere"]),
        ({"clients": ("0.0.0.0/0",)}, ["configuration.everybody-let-in"]),
        ({"file_system": "nfs4"}, ["configuration.network-folder"]),
        ({"file_system": "smbfs"}, ["configuration.network-folder"]),
        ({"path": "/Users/ada/Library/Mobile Documents/com~apple~CloudDocs/aya"}, ["configuration.synced-folder"]),
        ({"path": "/Users/ada/Library/CloudStorage/Dropbox/aya"}, ["configuration.synced-folder"]),
        ({"path": "/Users/ada/Dropbox (Personal)/aya"}, ["configuration.synced-folder"]),
        ({"path": "/home/ada/Documents/aya"}, ["configuration.protected-folder"]),
        ({"path": "/home/ada/Documents/aya", "user_home": None}, []),
        ({"path": "/home/ada/DocumentsOld/aya"}, []),
    ],
)  # fmt: skip
def test_a_configuration_is_judged(change: dict[str, object], wanted: list[str]) -> None:
    """One thing wrong at a time, and nothing else is said."""
    assert ids(configuration.judge(replace(GOOD, **change))) == wanted  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("holds", "mode", "wanted"),
    [
        ("secret", 0o600, None),
        ("secret", 0o400, None),
        ("secret", 0o640, 0o600),
        ("secret", 0o604, 0o600),
        ("data", 0o700, None),
        ("data", 0o750, None),
        ("data", 0o770, 0o700),
        ("data", 0o755, 0o700),
        ("directory", 0o750, 0o700),
        ("home", 0o755, None),
        ("home", 0o777, 0o755),
    ],
)
def test_a_mode_that_lets_others_in_is_mended(holds: permissions.Holds, mode: int, wanted: int | None) -> None:
    """To what it should be; PostgreSQL lets its group read."""
    found = permissions.judge(permissions.Entry(Path("/x"), holds, mode, 0, 0))
    assert [one.mend for one in found] == ([] if wanted is None else [Chmod(Path("/x"), wanted, 0)])


def test_an_owner_and_a_link_are_left_to_a_person() -> None:
    """Nothing is mended that could be a trap."""
    stranger = permissions.judge(permissions.Entry(Path("/x"), "secret", 0o600, 501, 0))
    assert ids(stranger) == ["permissions.wrong-owner"]
    assert not stranger[0].fixable
    planted = permissions.judge(permissions.Entry(Path("/x"), "secret", 0o666, 501, 0))
    assert ids(planted) == ["permissions.wrong-owner", "permissions.file-open"]
    assert not any(one.fixable for one in planted)
    link = permissions.judge(permissions.Entry(Path("/x"), "secret", 0o777, 501, 0, is_link=True))
    assert ids(link) == ["permissions.link"]
    assert not link[0].fixable


@given(st.integers(0, 0o777), st.sampled_from(["secret", "data", "directory", "home"]))
def test_a_mended_mode_is_judged_to_be_good(mode: int, holds: permissions.Holds) -> None:
    """--fix is done after one time."""
    for one in permissions.judge(permissions.Entry(Path("/x"), holds, mode, 0, 0)):
        assert isinstance(one.mend, Chmod)
        assert permissions.judge(permissions.Entry(Path("/x"), holds, one.mend.mode, 0, 0)) == []


WORDS = {"aya_user of alpha": "s3cr3t-s3cr3t-s3cr3t", "postgres of alpha": "an0ther-an0ther-an0ther", "short": "abc"}


def test_secrets_are_found_and_never_said() -> None:
    """By whose they are, in one finding for each place; a short word is no secret, it turns up by chance."""
    content = b"password=s3cr3t-s3cr3t-s3cr3t abc an0ther-an0ther-an0ther"
    names = secrets.names_in(content, WORDS)
    assert names == ["aya_user of alpha", "postgres of alpha"]
    found = secrets.judge([secrets.Leak("log", "/x/a b.log", name) for name in names])
    assert ids(found) == ["secrets.in-log"]
    said = str([one.to_json() for one in found])
    assert "aya_user of alpha, postgres of alpha" in said
    assert "'/x/a b.log'" in (found[0].hint or "")
    assert not any(word in said for word in WORDS.values() if len(word) > 3)


@given(st.text(alphabet="abcdef0123456789-_", min_size=12), st.binary(), st.binary(),
       st.sampled_from(["plist", "configuration", "log", "environment", "arguments"]))  # fmt: skip
def test_no_finding_says_a_secret(word: str, before: bytes, after: bytes, place: secrets.Place) -> None:
    """Wherever it stands."""
    assert secrets.names_in(before + word.encode() + after, {"NAME": word}) == ["NAME"]
    found = secrets.judge([secrets.Leak(place, "/where", "NAME", 77777)])
    assert word not in str([one.to_json() for one in found])


def reading(offset: float, uncertain: float = 0.001) -> clock.Seen:
    """Return a clock that beta's is so far ahead of."""
    return clock.Seen("linux", (clock.Reading("beta", offset, uncertain),), synchronised=True)


@pytest.mark.parametrize(
    ("seen", "wanted"),
    [
        (reading(0.2), []),
        (reading(-1.5), ["clock.offset"]),
        (reading(1.5, uncertain=1.0), []),
        (reading(90.0), ["clock.far-off"]),
        (clock.Seen("linux", synchronised=False), ["clock.unsynchronised"]),
        (clock.Seen("darwin", synchronised=True, offset_seconds=-2.0), ["clock.offset"]),
        (clock.Seen("linux", synchronised=True, jumped_seconds=-30.0), ["clock.jumped"]),
        (clock.Seen("linux", synchronised=True, jumped_seconds=1.0), []),
        (clock.Seen("linux"), ["clock"]),
    ],
)
def test_clocks_are_judged(seen: clock.Seen, wanted: list[str]) -> None:
    """What the round trip explains is no offset; where nothing tells, nothing passed."""
    found = clock.judge(seen)
    assert ids(found) == wanted
    assert all(one.severity == "skipped" for one in found if one.id == "clock")


@given(st.floats(-1e6, 1e6), st.floats(0, 10), st.floats(0, 10))
def test_an_offset_is_never_off_by_more_than_half_the_round_trip(true: float, there: float, back: float) -> None:
    """However unlike the two ways are."""
    found, uncertain = clock.offset(1000.0, 1000.0 + there + true, 1000.0 + there + back)
    assert abs(found - true) <= uncertain + 1e-6


SLEEPY = {"sleep": 10, "autorestart": 0}


@pytest.mark.parametrize(
    ("nodes", "power", "filevault", "wanted"),
    [
        (("alpha",), SLEEPY, True, ["sleep.server-sleeps", "sleep.no-autorestart", "sleep.filevault"]),
        (("beta",), {"sleep": 0, "autorestart": 1}, False, []),
        (("air",), SLEEPY, True, ["sleep"]),
        (("alpha",), {}, None, ["sleep"]),
    ],
)
def test_a_server_stays_awake(
    nodes: tuple[str, ...],
    power: dict[str, int],
    filevault: bool | None,  # noqa: FBT001 - a case
    wanted: list[str],
) -> None:
    """AIR is a laptop: it may sleep."""
    assert ids(sleep.judge(sleep.Seen(nodes, power, filevault))) == wanted


LAN = network.Way("beta", "192.168.1.11", 5432)
TAILNET = network.Way("beta", "100.64.0.2", 5432)
MAC = network.Seen(macos=(15, 1), own_addresses=frozenset({"100.64.0.1"}))


def dead(way: network.Way, error: int = 61) -> network.Way:
    """Return a way that leads nowhere."""
    return replace(way, error=error, reason="refused")


@pytest.mark.parametrize(
    ("ways", "wanted"),
    [
        ((LAN, TAILNET), []),
        ((dead(LAN), TAILNET), ["network.way-dead"]),
        ((dead(LAN), dead(TAILNET)), ["network.partner-unreachable"]),
        ((dead(LAN, 65), TAILNET), ["network.local-privacy"]),
        ((LAN, dead(TAILNET, 65)), ["network.way-dead"]),
        ((dead(LAN, 65), dead(replace(LAN, port=8766), 65), TAILNET), ["network.local-privacy"]),
        ((dead(LAN, 65), dead(TAILNET)), ["network.local-privacy", "network.partner-unreachable"]),
        ((), []),
    ],
)
def test_ways_to_the_partner_are_judged(ways: tuple[network.Way, ...], wanted: list[str]) -> None:
    """Errno 65 on a LAN address is macOS's privacy; on a tailnet address it is not."""
    assert ids(network.judge(replace(MAC, ways=ways))) == wanted


def test_privacy_is_of_new_macos_only() -> None:
    """Elsewhere 65 is another error, or no route."""
    old = replace(MAC, macos=(14, 7), ways=(dead(LAN, 65), TAILNET))
    assert ids(network.judge(old)) == ["network.way-dead"]
    assert ids(network.judge(replace(old, macos=None))) == ["network.way-dead"]


def test_a_tailnet_address_needs_a_tailnet() -> None:
    """And a server's agent is no daemon; AIR's may be one."""
    seen = replace(MAC, ways=(LAN, TAILNET), own_addresses=frozenset({"192.168.1.10"}))
    assert ids(network.judge(seen)) == ["network.tailnet-absent"]
    agents = ("/Users/a/Library/LaunchAgents/com.aya.alpha.watchdog.plist",
              "/Users/a/Library/LaunchAgents/com.aya.air.syncd.plist")  # fmt: skip
    assert ids(network.judge(replace(MAC, agents=agents))) == ["network.agent-not-daemon"]


EMBEDDER = model.Seen("alpha", "linux", status="healthy", device="cpu", blas="openblas", model="minilm",
                      fingerprint="b3b0", bound=("b3b0", "minilm"))  # fmt: skip


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ({}, []),
        ({"error": "refused"}, ["model.silent"]),
        ({"status": "loading"}, ["model.not-ready"]),
        ({"failed": (model.Failed("bge", "no weights", None),)}, ["model.failed"]),
        ({"fingerprint": "ffff"}, ["model.other"]),
        ({"fingerprint": None}, []),
        ({"bound": None}, []),
        ({"blas": "reference"}, ["model.slow-blas"]),
        ({"platform": "darwin"}, ["model.no-metal"]),
        ({"platform": "darwin", "device": "metal", "blas": "metal"}, []),
    ],
)
def test_an_embedder_is_judged(change: dict[str, object], wanted: list[str]) -> None:
    """Metal on macOS, OpenBLAS on Linux, and the model of the base."""
    assert ids(model.judge(replace(EMBEDDER, **change))) == wanted  # type: ignore[arg-type]


def test_a_model_that_is_not_here_is_to_be_pulled() -> None:
    """With the command that fetches it."""
    assert model.judge_weights(model.Weights("minilm", here=True)) == []
    (found,) = model.judge_weights(model.Weights("bge-base-en-v1.5", here=False))
    assert found.hint == "aya models pull bge-base-en-v1.5"


GB = 10**9


@pytest.mark.parametrize(
    ("room", "wanted"),
    [
        (disk.Room(("/a",), 100 * GB, 200 * GB, 900, 1000), []),
        (disk.Room(("/a",), 10 * GB, 200 * GB), ["disk.low"]),
        (disk.Room(("/a",), GB, 200 * GB), ["disk.full"]),
        (disk.Room(("/a",), 100 * GB, 200 * GB, 1, 1000), ["disk.few-inodes"]),
    ],
)
def test_room_is_judged(room: disk.Room, wanted: list[str]) -> None:
    """By bytes and by inodes; APFS counts none of the latter."""
    assert ids(disk.judge(room)) == wanted


def test_days_left_are_told_only_by_enough_history() -> None:
    """An archive of an hour says nothing of a day."""
    now, day = 10_000_000.0, 86400.0
    assert disk.growth([(now - 3600, GB)], now) is None
    assert disk.growth([], now) is None
    grown = disk.growth([(now - 2 * day, GB), (now - day, GB)], now)
    assert grown == pytest.approx(GB)
    assert ids(disk.judge_growth(disk.Growth("alpha", "/a", 10 * GB, grown))) == ["disk.days-left"]
    assert disk.judge_growth(disk.Growth("alpha", "/a", 100 * GB, grown)) == []
    assert disk.judge_growth(disk.Growth("alpha", "/a", GB, None)) == []


HELD = lockfile.Observation(4242, is_server=True, is_ours=True, supervised=True)


@pytest.mark.parametrize(
    ("lock", "removable", "wanted"),
    [
        (HELD, True, []),
        (lockfile.Observation(4242, is_server=True), True, []),
        (lockfile.Observation(None, others=(4243,)), True, []),
        (lockfile.Observation(4242, others=(4243,)), True, []),
        (lockfile.Observation(4242), True, [ForgetLock(Path("/d/data"))]),
        (lockfile.Observation(None), True, [ForgetLock(Path("/d/data"))]),
        (lockfile.Observation(None), False, [None]),
    ],
)
def test_a_lock_may_go_only_when_no_postgres_works_there(
    lock: lockfile.Observation,
    removable: bool,  # noqa: FBT001 - a case
    wanted: list[object],
) -> None:
    """And never where another machine may hold it."""
    found = stale.judge_lock(stale.Lock(Path("/d/data"), "alpha", "4242", lock, removable))
    assert [one.mend for one in found] == wanted


@given(st.builds(lockfile.Observation, st.none() | st.integers(1, 99), st.booleans(), st.booleans(), st.booleans(),
                 st.lists(st.integers(1, 99), max_size=3).map(tuple)))  # fmt: skip
def test_no_lock_of_a_living_server_is_ever_mended(seen: lockfile.Observation) -> None:
    """Whatever else is known."""
    found = stale.judge_lock(stale.Lock(Path("/d/data"), "alpha", "1", seen))
    assert not found or (not seen.others and not (seen.locked_by is not None and seen.is_server))


def test_what_may_be_nowhere_else_is_not_told_to_be_removed() -> None:
    """A former primary's directory whose rows were not kept has a page; another one goes when a person is sure."""
    (replaced,), (unkept,) = [
        stale.judge(stale.Seen(set_aside=(stale.SetAside(Path(f"/h/nodes/alpha/{name}"), GB),)))
        for name in ("data.replaced", "data.unkept-20261127T101500")
    ]
    assert "rm -r" in (replaced.hint or "")
    assert "rm" not in (unkept.hint or "").split()
    assert "What could not be kept" in (unkept.hint or "")


def test_what_lies_around_is_told_and_only_the_proven_goes() -> None:
    """Directories that were set aside hold data: they are a person's to remove."""
    seen = stale.Seen(
        sockets=(
            stale.SocketLock(Path("/r/a.lock"), 7, alive=False),
            stale.SocketLock(Path("/r/b.lock"), 8, alive=True),
        ),
        temporary=(stale.Temporary(Path("/h/.state.json.x"), 9000), stale.Temporary(Path("/h/.new"), 5)),
        set_aside=(stale.SetAside(Path("/h/nodes/alpha/data.replaced"), GB),),
        unfinished=(Path("/h/nodes/beta/data.unfinished"),),
        orphans=(("com.aya.alpha.embedder", 55),),
    )
    found = stale.judge(seen)
    assert {one.id: one.mend for one in found} == {
        "stale.socket-lock": RemoveSocketLock(Path("/r/a.lock")),
        "stale.temporary-file": RemoveTemporary(Path("/h/.state.json.x")),
        "stale.unfinished": None,
        "stale.set-aside": None,
        "stale.orphan": None,
    }
    assert "stale.unfinished" not in ids(stale.judge(replace(seen, busy=True)))


PYTHON = environment.Seen("/v", (3, 13))


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ({}, []),
        ({"python": (3, 10)}, ["environment.old-python"]),
        ({"editable": ("aya",)}, ["environment.editable"]),
        ({"hidden": ("/v/a.pth",)}, ["environment.hidden-files"]),
        ({"hidden": ("/v/a.pth",), "python": (3, 11)}, []),
        ({"quarantined": ("/v/bin/python",)}, ["environment.quarantined"]),
        ({"translated": True}, ["environment.translated"]),
    ],
)
def test_a_python_is_judged(change: dict[str, object], wanted: list[str]) -> None:
    """Python 3.12 and later pass over hidden .pth files."""
    assert ids(environment.judge(replace(PYTHON, **change))) == wanted  # type: ignore[arg-type]


def test_an_editable_install_fails_under_launchd() -> None:
    """On a machine where people work on it, it is what they want."""
    seen = replace(PYTHON, editable=("aya",))
    assert [one.severity for one in environment.judge(seen)] == ["note"]
    assert [one.severity for one in environment.judge(replace(seen, launchd=True))] == ["failure"]


DAEMON = services.Plist("/Library/LaunchDaemons/com.aya.alpha.watchdog.plist", "alpha", installed=True)


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ({}, []),
        ({"differs": True}, ["services.plist-differs"]),
        ({"problems": ("Nice must be an integer",), "differs": True}, ["services.plist-invalid"]),
        ({"owner": 501}, ["services.plist-owner"]),
        ({"mode": 0o664}, ["services.plist-owner"]),
        ({"mode": 0o664, "installed": False, "path": "/h/com.aya.alpha.watchdog.plist"}, []),
    ],
)
def test_a_plist_is_judged(change: dict[str, object], wanted: list[str]) -> None:
    """Owner and mode count where launchd looks."""
    assert ids(services.judge_plist(replace(DAEMON, **change))) == wanted  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("states", "wanted"),
    [
        (("running", "running"), []),
        (("running", "failed"), ["services.down"]),
        (("stopped", "stopped"), ["services.stopped"]),
        (("orphaned", "stopped"), ["services.down"]),
        ((), []),
    ],
)
def test_what_should_run_is_told(states: tuple[State, ...], wanted: list[str]) -> None:
    """A home of which nothing runs is at rest."""
    running = tuple(services.Running("alpha", f"service{number}", state) for number, state in enumerate(states))
    assert ids(services.judge_running(running)) == wanted


@pytest.mark.parametrize(
    ("state", "status", "wanted"),
    [
        ("running", None, []),
        ("running", 78, []),
        ("spawn scheduled", 78, ["services.job-failing"]),
        ("not running", 0, []),
    ],
)
def test_a_job_that_ends_over_and_over_is_told(state: str, status: int | None, wanted: list[str]) -> None:
    """One that runs again is not."""
    job = services.LaunchdJob("com.aya.alpha.watchdog", "system", state, status)
    assert ids(services.judge_job(job)) == wanted


def test_a_log_is_told_when_it_is_large() -> None:
    """Not before."""
    assert services.judge_log(services.Log("/x.log", 10**6)) == []
    assert ids(services.judge_log(services.Log("/x.log", 10**9))) == ["services.log-large"]
