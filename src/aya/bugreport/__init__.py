"""What a person sends to whoever helps him: how it runs and what it said, without secrets and without knowledge."""
