"""Knowledge that stands in SQLite files of any schema, into the knowledge base.

database.py reads (the only module here that opens a file); judge.py proposes which column is what; mapping.py is that
choice, and its TOML file; dates.py and values.py read single values; documents.py makes a document of a row; run.py
puts them together.
"""
