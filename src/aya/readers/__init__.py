"""File formats into text: each reader makes Markdown of one format, in a worker process that may hang or crash."""
