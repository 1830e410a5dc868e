"""`python -m aya_embedder`."""

from aya_embedder.main import main

main()
