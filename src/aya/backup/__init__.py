"""The WAL archive, base backups and recovery to a moment, with PostgreSQL's own tools (docs/adr/0018).

archive_program  archive_command and restore_command; runs by itself
install          that program beside the data directory, and the command lines that call it
wal              names of segments, timelines, gaps, what may go; pure
archive          what an archive holds, checked file by file
catalogue        the base backups of a node: what is written down of each
manifest         a base backup compared with what was copied
create           pg_basebackup, checked, then kept
restore          a new cluster from a base backup and the archive, up to a moment
target           to which moment, and from which base backup; pure
restored         what was restored: where it is, how it goes away
failed           what is known of a scheduled backup that failed
schedule         when the next one is due; pure
main             the service that makes them
"""
