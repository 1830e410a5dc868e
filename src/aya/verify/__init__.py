"""What the owner checks by hand, phase by phase, measured on the nodes as they run (docs/operations/verify.md).

types        the frozen values, and their JSON
checks       the table: each line with its limit and what to do; pure
judge        figure and limit → result and reason; pure
plan         which lines are measured at which nodes; pure
places       which nodes there are, where each is entered, and who leads
marks        the rows that are inserted: made, found again, removed
scene        what the lines share while they are measured
waiting      looking until something holds
primary, standby, copy, assistant, arrival   phases 1 to 5: one function for each line
run          measures line after line, and removes what was inserted
"""
