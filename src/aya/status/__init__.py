"""What every node of this machine is and does, asked all at once and never waited for longer than 2 seconds.

types      the frozen values, and their JSON
judge      observation → health and problems; pure
last       the last event in a log; pure
probe      asks databases, embedders and the supervisor
exit_code  is what `aya status` ends with
"""
