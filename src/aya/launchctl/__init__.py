"""`aya launchd`: the services of this machine's nodes under launchd, or under systemd's user manager on Linux.

jobs        a template → what is installed of it: file, owner, domain; pure
parse       what `launchctl print`, `print-disabled` and `list` say, as values; pure
exits       how a process ended, in words; pure
plan        which steps lead from what is there to what is wanted; pure
failures    why launchctl refused, in words, with the next command; pure
circumstances   what is looked at when launchctl does not say why
program     launchctl or systemctl as a Protocol, and as a process
launchd     the steps, taken
systemctl   the same for systemd
manager     which of the two this machine has
assemble    from a home to its jobs, and from what is installed back to them
setup       the manager for what was asked; everything that refuses an installation
ready       waiting until a service is of use
logs        the ends of the services' logs, and what is added to them
venv        whether launchd can run this Python environment
beside      who else runs these services: `aya up`, Homebrew; and who runs them, for `aya up`

What asks launchd has never run on a Mac: it is tested against a simulation that answers as launchctl does.
"""
