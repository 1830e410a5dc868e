"""`python -m aya_watchdog`."""

from aya_watchdog.main import main

main()
