"""AYA's page: topology, lag, queues, search and metrics, over HTTP, on loopback; it reads and never writes."""
