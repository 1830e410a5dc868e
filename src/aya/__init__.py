"""AYA: one private knowledge base that lives on three Macs at once."""

__version__ = "0.1.0"
