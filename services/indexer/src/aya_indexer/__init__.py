"""AYA's indexer: chunks and embeds the documents that arrived without vectors."""
