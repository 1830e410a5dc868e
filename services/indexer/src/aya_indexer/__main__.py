"""`python -m aya_indexer`."""

from aya_indexer.main import main

main()
