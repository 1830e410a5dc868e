"""How far AIR's copy is, and what a person may do about it; the work itself is the daemon's (services/syncd).

types      the frozen values, and their JSON
judge      what was seen → in which condition the copy is; pure
waiting    when a copy has all that was written before a moment; pure
store      asks both ends; pauses, wakes, and sends again what was rejected
"""
