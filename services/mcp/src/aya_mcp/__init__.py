"""AYA's MCP server: the knowledge base for every IDE, over stdio."""
