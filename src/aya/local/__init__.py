"""The nodes of this machine, from nothing to healthy and back.

lock       one `aya up` or `aya down` of a home at a time
plan       which nodes, on which ports; pure but for looking at ports
layout     directories, passwords, plists of a node
clusters   create and finish PostgreSQL clusters, whatever an earlier try left behind
wait       waiting with a deadline, and the last words of the log when it was in vain
up, down   the two verbs
"""
