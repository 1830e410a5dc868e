"""The programs that start an MCP server by themselves, and the entry for ours in their configuration."""
