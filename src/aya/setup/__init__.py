"""A node of a machine of its own: what is to be done for it, and doing it.

plan             what to do, from what is wanted and what was found; pure
configuration    aya.toml as text: written anew, or changed in what is asked for; pure
join_file        what BETA and AIR need from the server that leads, as one file; pure
observe          what there is on this machine
invite           make a join file, and take one in
steps            do what the plan says
"""
