"""`python -m aya_web`."""

from aya_web.main import main

main()
