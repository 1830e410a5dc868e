"""The watchdog of one of the two servers: it observes, decides by a table, and acts."""
