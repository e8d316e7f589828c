"""The log's stores (memory, SQLite) and the link between two logs on one machine. May import: engine and below."""
