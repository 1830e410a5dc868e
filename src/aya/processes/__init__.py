"""The processes of a node: launchd's plists are their only definition; supervisord runs the same where launchd is not.

plist         template → filled in for one node → `Process`; pure but for reading the template
lint          which keys and types a plist of ours may have; pure
render        `Process` → supervisord's INI; pure
systemd       `Process` → a user unit of systemd; pure
states        what a process can be, in our words; pure
rpc           XML-RPC over supervisord's socket, with deadlines
supervisor    the supervisord of one AYA_HOME: start, ask, shut down
leftovers     processes that outlived their supervisor: found by what they are, ended politely
"""
