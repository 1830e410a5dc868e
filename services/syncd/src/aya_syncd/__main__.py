"""`python -m aya_syncd`."""

from aya_syncd.main import main

main()
