"""`python -m aya_mcp`: the MCP server on standard input and output."""

from aya_mcp.main import main

main()
