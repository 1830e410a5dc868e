"""AIR's sync daemon: what is written here arrives at the primary once, what changes there is here within a second."""
