"""Documents in and out: what the command line, the MCP server and the indexer share."""
