"""`aya doctor`: looks at a machine and its nodes, and says of each thing that is wrong how to mend it.

findings       a Finding, and what several of them come to; pure
catalogue      every id: how grave it is and why it matters; pure
mends          what --fix may do, as values; pure
texts          what sw_vers, pmset, launchctl, brew, pg_lsclusters … print, understood; pure
configuration permissions secrets servers durability versions installations clock sleep network model disk stale
environment services      one topic each: frozen observation → findings; pure
look/          reads the machine: files, processes, commands, servers
checks         every check with its look and its judge
run            runs them side by side, each bounded in time and by itself
mend           does what a mend says, after having looked again

The texts of macOS in the tests were written after its manual pages and were not recorded on a Mac.
"""
