"""AIR's sync as people see it: how far behind the copy is, what waits, and what was changed on both sides.

copy        what AIR's database says of itself, and what a person may order
conflicts   versions that lost against newer ones, at the primary: shown, taken, kept beside
"""
