"""PostgreSQL clusters of our own: find the binaries, create, configure, start, stop, provision."""
