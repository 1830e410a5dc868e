"""The plists in launchd/, the strict linter, and filling in their placeholders."""

from __future__ import annotations

import plistlib
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aya.errors import ConfigError
from aya.processes import plist
from aya.processes.__main__ import lint_file, main
from aya.processes.lint import installed_problems, parse_plist, problems

NAMES = {
    "node": "alpha",
    "home": "/srv/aya home",
    "user_home": "/home/me",
    "path": "/usr/bin:/bin",
    "python": "/opt/venv/bin/python",
    "log_directory": "/srv/aya home/nodes/alpha/log",
    "postgres_major": "18",
    "pg_config": "",
    "embedder_port": "20001",
    "web_port": "20009",
    "embedder_cache": "/srv/aya home/nodes/alpha/embedder",
    "model": "minilm",
    "partner": "127.0.0.1:20003:20005",
}
SERVICES = ("postgres", "watchdog", "link", "embedder", "indexer", "backup", "syncd", "web")
LAUNCHD = Path(__file__).parents[2] / "launchd"


def filled(service: str, **names: str) -> dict[str, Any]:
    """Return the template of a service with NAMES, some of them changed, filled in."""
    return plist.substitute(plist.template(service), {**NAMES, **names})


@pytest.mark.parametrize("service", SERVICES)
def test_each_shipped_plist_becomes_a_process_of_its_node(service: str) -> None:
    """Every template in launchd/ is good, fills in, and describes the service of its file's name."""
    process = plist.to_process(filled(service))
    assert process.label == f"com.aya.alpha.{service}"
    assert (process.node, process.service) == ("alpha", service)
    assert process.program[0] == "/opt/venv/bin/python"
    assert process.keep_alive == "always"
    assert dict(process.environment)["AYA_HOME"] == "/srv/aya home"
    assert process.stderr == f"/srv/aya home/nodes/alpha/log/{service}.log"
    assert installed_problems(filled(service), daemon=False) == []


@pytest.mark.parametrize(
    ("service", "seconds"),
    [("postgres", 120), ("embedder", 30), ("indexer", 30), ("backup", 30), ("syncd", 30), ("web", 10)],
)
def test_a_server_has_the_time_it_needs_to_stop(service: str, seconds: int) -> None:
    """120 s for PostgreSQL's last checkpoint, 30 for the embedder's batch."""
    assert plist.to_process(filled(service)).exit_timeout_seconds == seconds


def test_the_gate_lints_the_shipped_plists(capsys: pytest.CaptureFixture[str]) -> None:
    """`python -m aya.processes lint launchd/` is content with what we ship."""
    assert main(["lint", str(LAUNCHD)]) == 0
    assert "plists are good" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["lint"], ["check", "launchd"]])
def test_the_linter_says_how_it_is_called(arguments: list[str]) -> None:
    """A wrong call ends with 2."""
    assert main(arguments) == 2


def test_the_linter_names_file_and_problem(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each broken file is reported with its path; the exit code is 1."""
    (tmp_path / "com.aya.wrong.plist").write_bytes(plistlib.dumps(plist.template("indexer")))
    (tmp_path / "broken.plist").write_text("<plist>", encoding="utf-8")
    assert main(["lint", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert "com.aya.wrong.plist: its name does not belong to the label" in said
    assert "broken.plist: not a property list" in said


def test_an_empty_directory_is_not_good(tmp_path: Path) -> None:
    """A gate that finds nothing to look at fails."""
    assert main(["lint", str(tmp_path)]) == 1


GOOD = filled("postgres")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"KeepAlive": "yes"}, "KeepAlive must be true"),
        ({"KeepAlive": {"Crashed": True}}, "KeepAlive must be true"),
        ({"KeepAlive": {"SuccessfulExit": True}}, "KeepAlive must be true"),
        ({"Program": "/bin/sh"}, "Program is not a key"),
        ({"keepAlive": True}, "keepAlive is not a key"),
        ({"ProgramArguments": []}, "ProgramArguments must be an array"),
        ({"ProgramArguments": ["/bin/sh", 1]}, "ProgramArguments must be an array"),
        ({"ProgramArguments": ["python", "-m", "x"]}, "ProgramArguments must be an absolute path"),
        ({"ThrottleInterval": True}, "ThrottleInterval must be an integer"),
        ({"ThrottleInterval": "10"}, "ThrottleInterval must be an integer"),
        ({"ExitTimeOut": 0}, "ExitTimeOut must be an integer"),
        ({"ProcessType": "Fast"}, "ProcessType must be one of"),
        ({"WorkingDirectory": "~/aya"}, "WorkingDirectory must be an absolute path"),
        ({"StandardOutPath": "log/x.log"}, "StandardOutPath must be an absolute path"),
        ({"AbandonProcessGroup": True}, "AbandonProcessGroup must be false"),
        ({"SoftResourceLimits": {"NumberOfFiles": 0}}, "SoftResourceLimits must be a dictionary"),
        ({"SoftResourceLimits": {"NumberOfFiles": 10, "CPU": 1}}, "SoftResourceLimits must be a dictionary"),
        ({"Label": "org.example"}, "Label must be com.aya"),
        ({"Nice": 30}, "Nice must be"),
        ({"Umask": 0o022}, "Umask must be 63"),
        ({"Umask": 63.0}, "Umask must be 63"),
        ({"RunAtLoad": False}, "RunAtLoad false contradicts KeepAlive"),
        ({"LowPriorityIO": True}, "LowPriorityIO contradicts ProcessType Interactive"),
        ({"HardResourceLimits": {"NumberOfFiles": 1024}}, "SoftResourceLimits allows more files (4096)"),
        ({"GroupName": "staff"}, "GroupName without UserName"),
        ({"ProgramArguments": ["/bin/sh", "~/x"]}, "ProgramArguments has a word that begins with ~"),
        ({"ProgramArguments": ["/bin/sh", "--password=x"]}, "ProgramArguments holds a secret"),
        ({"ProgramArguments": ["/bin/sh", "postgresql://me:word@host/db"]}, "ProgramArguments holds a secret"),
        ({"WorkingDirectory": "/srv/../etc"}, "WorkingDirectory must be an absolute path without"),
        ({1: "x"}, "1 is not a key"),
        ({"SoftResourceLimits": {1: 2}}, "SoftResourceLimits must be a dictionary"),
        ({"EnvironmentVariables": {1: "x"}}, "EnvironmentVariables must be a dictionary of strings"),
    ],
)
def test_the_linter_refuses(change: dict[str, Any], said: str) -> None:
    """Each wrong key, type or value is named; launchd would pass over it in silence."""
    assert any(problem.startswith(said) for problem in problems({**GOOD, **change}))


@pytest.mark.parametrize("key", ["Label", "ProgramArguments", "KeepAlive", "RunAtLoad", "WorkingDirectory"])
def test_a_required_key_is_missed(key: str) -> None:
    """What every plist of ours must say is asked for."""
    assert problems({name: value for name, value in GOOD.items() if name != key}) == [f"{key} is missing"]


@pytest.mark.parametrize(
    "secret",
    [{"PGPASSWORD": "x"}, {"API_KEY": "x"}, {"AYA_DSN": "x"}, {"WHERE": "postgresql://me:word@host/db"}],
)
def test_a_secret_is_refused(secret: dict[str, str]) -> None:
    """A plist is readable by everybody: no password, by name or by form."""
    environment = {**GOOD["EnvironmentVariables"], **secret}
    assert any("holds a secret" in problem for problem in problems({**GOOD, "EnvironmentVariables": environment}))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"PATH": "/usr/bin:bin"}, "EnvironmentVariables has 'bin'"),
        ({"HOME": "~"}, "EnvironmentVariables has '~'"),
        ({"A=B": "x"}, "EnvironmentVariables has a name"),
        ({"PATH": ""}, "EnvironmentVariables has ''"),
    ],
)
def test_an_environment_that_leads_nowhere_is_refused(change: dict[str, str], said: str) -> None:
    """Launchd expands neither ~ nor names, and starts in /."""
    environment = {**GOOD["EnvironmentVariables"], **change}
    assert any(problem.startswith(said) for problem in problems({**GOOD, "EnvironmentVariables": environment}))


@pytest.mark.parametrize(
    ("change", "daemon", "said"),
    [
        ({}, True, ["UserName is missing: a daemon without one runs as root"]),
        ({"UserName": "me"}, True, []),
        ({"Umask": None}, False, ["Umask must be 63 (octal 077)"]),
        ({}, False, []),
        ({"UserName": "me"}, False, ["UserName and GroupName are for daemons: an agent is whoever is logged in"]),
        ({"Label": "com.aya.${node}.postgres"}, False, ["Label still has a placeholder"]),
        ({"StandardOutPath": "${log_directory}/x.log"}, False, ["${log_directory}/x.log still has a placeholder"]),
        ({"ProgramArguments": ["${python}"]}, False, ["${python} still has a placeholder"]),
    ],
)
def test_what_is_installed_leaves_nothing_open(change: dict[str, Any], *, daemon: bool, said: list[str]) -> None:
    """A daemon says whom it runs as, an agent does not, and every placeholder is filled in."""
    assert installed_problems({**GOOD, **change}, daemon=daemon) == said


ANY_VALUE: st.SearchStrategy[Any] = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**63) | st.text() | st.binary(max_size=8) | st.floats() | st.datetimes(),
    lambda parts: st.lists(parts, max_size=3) | st.dictionaries(st.text(max_size=8) | st.integers(), parts, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(sorted(GOOD)), ANY_VALUE, min_size=1, max_size=4))
def test_any_value_of_any_key_is_judged(change: dict[str, Any]) -> None:
    """Whatever stands behind a key ends in sentences, or is good; nothing ends in a traceback."""
    found = installed_problems({**GOOD, **change}, daemon=False)
    assert all(isinstance(problem, str) for problem in found)
    if not found:
        plist.to_process({**GOOD, **change})


@given(st.binary(max_size=400) | st.binary(max_size=200).map(lambda tail: b"bplist00" + tail))
def test_any_bytes_end_in_a_finding(content: bytes) -> None:
    """A file that is no plist of ours is named; the gate never breaks over it."""
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "com.aya.indexer.plist"
        file.write_bytes(content)
        assert lint_file(file)


@given(service=st.sampled_from(SERVICES), place=st.integers(0, 4000), put=st.binary(max_size=6), binary=st.booleans())
def test_a_damaged_plist_is_judged(service: str, place: int, put: bytes, *, binary: bool) -> None:
    """A good one with some bytes exchanged is good, or has findings."""
    form = plistlib.FMT_BINARY if binary else plistlib.FMT_XML
    content = plistlib.dumps(filled(service), fmt=form)
    place %= len(content)
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / f"com.aya.{service}.plist"
        file.write_bytes(content[:place] + put + content[place + len(put) :])
        assert all(isinstance(problem, str) for problem in lint_file(file))


def test_a_doubled_key_is_refused() -> None:
    """A property list with a key twice is ambiguous, though plistlib would take it."""
    xml = b"<plist version='1.0'><dict><key>A</key><true/><key>A</key><false/></dict></plist>"
    with pytest.raises(ValueError, match="A stands twice"):
        parse_plist(xml)


def test_defaults_are_launchds_own() -> None:
    """10 s between starts and 20 s to stop, where a plist says nothing."""
    bare = {key: value for key, value in GOOD.items() if key not in {"ThrottleInterval", "ExitTimeOut"}}
    process = plist.to_process(bare)
    assert (process.throttle_seconds, process.exit_timeout_seconds) == (10, 20)


def test_on_failure_is_successful_exit_false() -> None:
    """KeepAlive {SuccessfulExit: false} restarts only after a failure."""
    assert plist.to_process({**GOOD, "KeepAlive": {"SuccessfulExit": False}}).keep_alive == "on_failure"


def test_a_placeholder_without_a_value_is_an_error() -> None:
    """Nothing half filled in is ever started."""
    with pytest.raises(ConfigError, match=r"asks for \${home}"):
        plist.substitute(plist.template("postgres"), {name: word for name, word in NAMES.items() if name != "home"})


def test_a_plist_with_problems_is_never_run() -> None:
    """All problems are said at once."""
    with pytest.raises(ConfigError, match=r"KeepAlive .*; Colour"):
        plist.to_process({**GOOD, "KeepAlive": 1, "Colour": "red"})


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="￾￿"), min_size=1))
def test_any_path_survives_the_xml(name: str) -> None:
    """Spaces, quotes, &, <, $ and any letter come back from the XML as they went in."""
    plist_of_home = filled("embedder", home=f"/srv/{name}")
    assert parse_plist(plist.to_xml(plist_of_home)) == plist_of_home


def test_a_control_character_is_refused_in_words() -> None:
    """XML has no form for it."""
    with pytest.raises(ConfigError, match="control characters"):
        plist.to_xml(filled("embedder", home="/srv/a\x07b"))
