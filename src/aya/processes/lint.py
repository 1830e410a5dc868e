"""Which keys a plist of ours may have, and of which type; pure. launchd passes over what it does not know in silence.

Sources: launchd.plist(5), launchctl(1), and our own rules: absolute paths, no `~`, never a secret, no forking.
`plutil -lint` checks only that the file is a property list. A plist is anybody's bytes until it is judged: keys that
are no strings and values of any type end in a sentence.
"""

from __future__ import annotations

import plistlib
import re
from collections.abc import Callable, Mapping
from typing import Any, cast

LABEL = re.compile(r"com\.aya\.(\$\{node\}|[a-z][a-z0-9]*)\.(?P<service>[a-z][a-z0-9_]*)")
_REQUIRED = ("Label", "ProgramArguments", "EnvironmentVariables", "KeepAlive", "RunAtLoad", "StandardOutPath",
             "StandardErrorPath", "WorkingDirectory")  # fmt: skip
_REQUIRED_ENVIRONMENT = ("PATH", "HOME", "LC_ALL", "AYA_HOME", "AYA_NODE")
_PROCESS_TYPES = ("Background", "Standard", "Adaptive", "Interactive")
_SECRET_NAME = re.compile(r"PASSWORD|PASSWD|SECRET|TOKEN|API_?KEY|CREDENTIAL|DSN", re.IGNORECASE)
_SECRET_VALUE = re.compile(r"://[^/@\s]*:[^/@\s]+@")
_SECRET_ARGUMENT = re.compile(r"--?[\w-]*(password|passwd|secret|token|api-?key)[\w-]*(=|$)", re.IGNORECASE)
# What nobody but the owner may read: the log tells of documents. 63 is octal 077; a plist knows no octal numbers.
UMASK = 0o077

_PATHS = ("WorkingDirectory", "StandardOutPath", "StandardErrorPath")

Check = Callable[[object], str | None]


class NoDuplicates(dict[str, object]):
    """A dictionary in which no key may be set twice; plistlib's own keeps the last one in silence."""

    def __setitem__(self, key: str, value: object) -> None:
        if key in self:
            raise ValueError(f"the key {key} stands twice")
        super().__setitem__(key, value)


def parse_plist(content: bytes) -> dict[str, Any]:
    """Parse a property list; ValueError, with the reason, when it is none or has a key twice."""
    try:
        parsed: object = plistlib.loads(content, dict_type=NoDuplicates)
    except ValueError:
        raise
    except Exception as error:  # plistlib lets expat's, struct's and others' errors through
        raise ValueError(f"not a property list: {error}") from error
    if not isinstance(parsed, dict):
        raise ValueError(f"holds {type(parsed).__name__}, not a dictionary")  # noqa: TRY004 - the file's fault
    return cast("dict[str, Any]", parsed)


def problems(plist: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with a plist, one sentence each; empty when nothing is."""
    found = [f"{key} is missing" for key in _REQUIRED if key not in plist]
    for key, value in plist.items():
        check = _KEYS.get(key)
        said = check(value) if check else "is not a key that a plist of AYA may have"
        if said:
            found.append(f"{key} {said}")
    return [*found, *_contradictions(plist)]


def installed_problems(plist: Mapping[str, Any], *, daemon: bool) -> list[str]:
    """Return what is wrong with a plist as launchd is to load it: also what a template may still leave open."""
    found = problems(plist)
    if "Umask" not in plist:
        found.append("Umask is missing: everybody could read what it writes")
    label = plist.get("Label")
    if isinstance(label, str) and "${" in label:
        found.append("Label still has a placeholder")
    if daemon and "UserName" not in plist:
        found.append("UserName is missing: a daemon without one runs as root")
    if not daemon and {"UserName", "GroupName"} & set(plist):
        found.append("UserName and GroupName are for daemons: an agent is whoever is logged in")
    words = [*_strings(plist.get("ProgramArguments"))[:1], *(plist.get(key) for key in _PATHS)]
    found += [f"{word} still has a placeholder" for word in words if isinstance(word, str) and word.startswith("${")]
    return found


def _contradictions(plist: Mapping[str, Any]) -> list[str]:
    """Return where two keys, each good by itself, cannot both be meant."""
    found: list[str] = []
    if "KeepAlive" in plist and plist.get("RunAtLoad") is False:
        found.append("RunAtLoad false contradicts KeepAlive, which starts it at once all the same")
    soft, hard = (_table(plist.get(f"{kind}ResourceLimits")).get("NumberOfFiles") for kind in ("Soft", "Hard"))
    if isinstance(soft, int) and isinstance(hard, int) and soft > hard:
        found.append(f"SoftResourceLimits allows more files ({soft}) than HardResourceLimits ({hard})")
    if plist.get("LowPriorityIO") is True and plist.get("ProcessType") == "Interactive":
        found.append("LowPriorityIO contradicts ProcessType Interactive")
    if "GroupName" in plist and "UserName" not in plist:
        found.append("GroupName without UserName would run with root's other rights")
    return found


def _text(value: object) -> str | None:
    return None if isinstance(value, str) and value else "must be a string that is not empty"


def _path(value: object) -> str | None:
    """Absolute, or a placeholder that stands for an absolute path; launchd expands no `~`."""
    good = isinstance(value, str) and value.startswith(("/", "${")) and ".." not in value.split("/")
    return None if good else "must be an absolute path without `..`"


def _umask(value: object) -> str | None:
    good = value == UMASK and not isinstance(value, bool) and isinstance(value, int)
    return None if good else f"must be {UMASK} (octal 077)"


def _boolean(value: object) -> str | None:
    return None if isinstance(value, bool) else "must be true or false"


def _must_be_false(value: object) -> str | None:
    return None if value is False else "must be false: what a process started is stopped with it"


def _seconds(value: object) -> str | None:
    good = isinstance(value, int) and not isinstance(value, bool) and 0 < value <= 600  # noqa: PLR2004 - ten minutes
    return None if good else "must be an integer from 1 to 600 (seconds)"


def _nice(value: object) -> str | None:
    good = isinstance(value, int) and not isinstance(value, bool) and -20 <= value <= 20  # noqa: PLR2004 - nice(1)
    return None if good else "must be an integer from -20 to 20"


def _label(value: object) -> str | None:
    good = isinstance(value, str) and LABEL.fullmatch(value)
    return None if good else "must be com.aya.${node}.SERVICE"


def _arguments(value: object) -> str | None:
    words = _strings(value)
    if not words:
        return "must be an array of strings, none of them empty"
    if any(word.startswith("~") for word in words):
        return "has a word that begins with ~, which launchd does not expand"
    if any(_SECRET_ARGUMENT.match(word) or _SECRET_VALUE.search(word) for word in words):
        return "holds a secret; everybody may read it in the list of processes"
    return _path(words[0])


def _keep_alive(value: object) -> str | None:
    good = value is True or _table(value) == {"SuccessfulExit": False}
    return None if good else "must be true, or a dictionary with SuccessfulExit false alone"


def _process_type(value: object) -> str | None:
    return None if value in _PROCESS_TYPES else f"must be one of {', '.join(_PROCESS_TYPES)}"


def _limits(value: object) -> str | None:
    table = _table(value)
    files = table.get("NumberOfFiles")
    good = len(table) == 1 and isinstance(files, int) and not isinstance(files, bool) and files > 0
    return None if good else "must be a dictionary with NumberOfFiles, a positive integer, alone"


def _environment(value: object) -> str | None:
    table = _table(value)
    words = {name: word for name, word in table.items() if isinstance(word, str)}
    if not table or len(words) != len(table):
        return "must be a dictionary of strings"
    if any(not name or "=" in name for name in words):
        return "has a name that is empty or holds ="
    missing = [name for name in _REQUIRED_ENVIRONMENT if name not in words]
    if missing:
        return f"lacks {', '.join(missing)}"
    secret = [name for name, word in words.items() if _SECRET_NAME.search(name) or _SECRET_VALUE.search(word)]
    if secret:
        return f"holds a secret ({', '.join(secret)}); secrets live in files of mode 600"
    places = [words["AYA_HOME"], words["HOME"], *words["PATH"].split(":")]
    relative = next((place for place in places if _path(place)), None)
    return None if relative is None else f"has {relative!r}, which must be an absolute path without `..`"


def _table(value: object) -> dict[str, object]:
    """Return a dictionary all of whose keys are strings, else an empty one: binary plists can have any key."""
    table = cast("dict[object, object]", value) if isinstance(value, dict) else {}
    return cast("dict[str, object]", table) if all(isinstance(key, str) for key in table) else {}


def _strings(value: object) -> list[str]:
    parts = cast("list[object]", value) if isinstance(value, list) else []
    words = [part for part in parts if isinstance(part, str) and part]
    return words if len(words) == len(parts) else []


_KEYS: dict[str, Check] = {
    "Label": _label,
    "ProgramArguments": _arguments,
    "EnvironmentVariables": _environment,
    "WorkingDirectory": _path,
    "StandardOutPath": _path,
    "StandardErrorPath": _path,
    "Umask": _umask,
    "RunAtLoad": _boolean,
    "KeepAlive": _keep_alive,
    "ThrottleInterval": _seconds,
    "ExitTimeOut": _seconds,
    "ProcessType": _process_type,
    "LowPriorityIO": _boolean,
    "Nice": _nice,
    "SoftResourceLimits": _limits,
    "HardResourceLimits": _limits,
    "UserName": _text,
    "GroupName": _text,
    "AbandonProcessGroup": _must_be_false,
}
