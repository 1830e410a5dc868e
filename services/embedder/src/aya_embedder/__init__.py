"""AYA's embedding service: text in, vectors out, on MLX."""
