"""What `aya init` has to do: every step has a state and a reason, and whatever is blocked says the command."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aya.members import Member
from aya.setup import configuration
from aya.setup.plan import Found, Rival, Step, Wanted, blocked, is_done, plan

MEMBERS = (
    Member("alpha", ("100.64.7.1", "100.64.0.1"), 5432, 8766, 8008),
    Member("beta", ("100.64.7.2",), 5432, 8766, 8008),
)
ALPHA = Wanted("alpha", MEMBERS)
BETA = Wanted("beta", MEMBERS, joins=True)
DONE = Found(configured=True, configuration_exists=True, ports=(5432, 8765), cluster_major=18, has_secrets=True,
             healthy=True)  # fmt: skip
JOIN = Path("/tmp/beta.aya-join")  # noqa: S108 - never opened


def states(wanted: Wanted, found: Found) -> dict[str, str]:
    """Return the state of each step that does something."""
    return {step.action: step.state for step in plan(wanted, found) if step.action}


def test_everything_is_to_do_on_a_new_machine_and_nothing_on_a_made_one() -> None:
    """In the order in which one needs the other."""
    assert states(ALPHA, Found()) == {"configure": "to do", "settle": "to do", "start": "to do", "admit": "done"}
    assert list(states(BETA, Found(join_file=JOIN))) == ["configure", "take", "settle", "start", "admit", "forget"]
    assert is_done(plan(ALPHA, DONE))
    assert is_done(plan(BETA, DONE))


def test_air_may_follow_servers_of_a_lan_that_speak_tls() -> None:
    """Its own server, which has none, is entered by nobody else; without TLS there the way is refused."""
    lan = tuple(replace(member, addresses=("192.168.1.10",)) for member in MEMBERS)
    air = Wanted("air", lan, joins=True)
    assert blocked(plan(replace(air, tls=True), Found(join_file=JOIN))) == ()
    assert blocked(plan(air, Found(join_file=JOIN)))


@pytest.mark.parametrize(
    ("wanted", "found", "why"),
    [
        (
            ALPHA,
            Found(rivals=(Rival("postgres 16 runs", "brew services stop postgresql@16", 5432),)),
            "postgres 16 runs",
        ),
        (ALPHA, Found(rivals=(Rival("python listens", "kill 1", 8765),)), "python listens"),
        (BETA, Found(), "there is no join file"),
        (ALPHA, replace(DONE, cluster_major=16, healthy=False), "belongs to PostgreSQL 16"),
        (replace(ALPHA, clients=("8.8.8.8",)), Found(), "no TLS"),
        (replace(BETA, tls=True), Found(join_file=JOIN), "the embedded one has none"),
        (replace(ALPHA, data=Path("/disk")), Found(nodes_at=Path("/home/nodes")), "are not moved"),
    ],
)
def test_what_is_in_the_way_is_told_with_the_command_that_ends_it(wanted: Wanted, found: Found, why: str) -> None:
    """One step is blocked, and it alone."""
    (step,) = blocked(plan(wanted, found))
    assert why in step.why
    assert step.command


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (ALPHA, replace(DONE, rivals=(Rival("PostgreSQL 16 on port 5433 runs", "brew services stop x", 5433),))),
        (ALPHA, replace(DONE, rivals=(Rival("Homebrew starts postgresql@16", "brew services stop x"),))),
        (replace(ALPHA, dsn=True), replace(DONE, rivals=(Rival("PostgreSQL on port 5432 runs", "x", 5432),))),
        (replace(ALPHA, clients=("8.8.8.8",), pg_config="/x"), replace(DONE, embedded=False)),
    ],
)
def test_what_is_merely_there_is_told_and_stops_nothing(wanted: Wanted, found: Found) -> None:
    """A double installation is seen, and is no reason not to begin elsewhere."""
    steps = plan(wanted, found)
    assert not blocked(steps)
    assert is_done(steps)


@pytest.mark.parametrize(
    ("address", "is_taken"),
    [("100.64.0.9", True), ("fd7a:115c:a1e0::1", True), ("alpha.tail1.ts.net", True), ("127.0.0.1", True),
     ("192.168.1.1", False), ("10.1.2.0/24", False), ("alpha.local", False), ("8.8.8.8", False)],
)  # fmt: skip
def test_without_tls_only_a_tailnets_addresses_are_taken(address: str, is_taken: bool) -> None:  # noqa: FBT001 - a case
    """And this machine's; an installed PostgreSQL, which has TLS, takes all."""
    wanted = replace(ALPHA, clients=(address,))
    assert bool(blocked(plan(wanted, Found()))) is not is_taken
    assert not blocked(plan(wanted, Found(embedded=False)))


RIVAL = st.builds(Rival, st.just("it runs"), st.just("kill 1"), st.sampled_from([None, 5432, 1]))
FOUND = st.builds(
    Found,
    configured=st.booleans(), configuration_exists=st.booleans(), ports=st.none() | st.just((5432, 8765)),
    cluster_major=st.sampled_from([None, 16, 18]), has_secrets=st.booleans(), healthy=st.booleans(),
    admits=st.booleans(), embedded=st.booleans(), join_file=st.none() | st.just(JOIN),
    rivals=st.lists(RIVAL, max_size=2).map(tuple),
)  # fmt: skip


@given(st.sampled_from([ALPHA, BETA, replace(BETA, role="air"), replace(ALPHA, dsn=True)]), FOUND)
def test_whatever_is_found_each_step_comes_once_and_a_blocked_one_has_a_command(wanted: Wanted, found: Found) -> None:
    """No action twice, and nothing that a person is left alone with."""
    steps: tuple[Step, ...] = plan(wanted, found)
    actions = [step.action for step in steps if step.action]
    assert len(actions) == len(set(actions))
    assert all(step.command for step in blocked(steps))
    assert "start" in actions


# aya.toml

VALUES = configuration.values(members=MEMBERS, clients=("100.64.0.3",), major=18, model="minilm")


def test_a_new_file_says_everything_and_each_line_has_a_word() -> None:
    """Parsed, it is what was wanted."""
    text = configuration.fresh(VALUES)
    assert tomllib.loads(text) == VALUES
    assert all("#" in line for line in text.splitlines() if "=" in line and not line.startswith("#"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# mine\n[postgres]\nmajor = 16   # for now\n\n[backup]\nkeep = 5 # enough\n",
        "[cluster]\nwitnesses = ['100.64.7.9:80']\n[cluster.alpha]\naddresses = ['old']\n",
        "postgres = {major = 16}\n",
    ],
)
def test_an_existing_file_is_changed_in_what_is_wanted_alone(text: str) -> None:
    """Other keys and comments stay; the same again changes nothing."""
    after = configuration.changed(text, VALUES)
    found: dict[str, Any] = tomllib.loads(after)
    assert configuration.says(found, VALUES)
    for word in ("# mine", "# for now", "# enough", "witnesses"):
        assert (word in after) == (word in text)
    assert configuration.changed(after, VALUES) == after


def test_what_is_no_table_is_refused() -> None:
    """It is a person's to mend."""
    with pytest.raises(ValueError, match="no table"):
        configuration.changed("cluster = 3\n", VALUES)
