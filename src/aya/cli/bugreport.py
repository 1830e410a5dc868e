"""`aya bugreport`: everything that somebody needs to help, in one file, without secrets and without knowledge."""

from __future__ import annotations

import time
from pathlib import Path

import click

from aya.bugreport import archive
from aya.cli import output
from aya.home import Home


@click.command()
@click.option("--output", "-o", "file", type=click.Path(path_type=Path), help="Where to write it (default: here).")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def command(home: Home, file: Path | None, *, as_json: bool) -> None:
    """Collect what somebody needs to help, in one file.

    Versions, states, settings and the ends of the logs. Passwords, keys and tokens are taken out, and so is what you
    have written: texts, titles, questions and file names are replaced by how long they are. Addresses of your machines
    stay. Nothing is sent: look into the file, then send it yourself.
    """
    target = file or Path(f"aya-bugreport-{time.strftime('%Y%m%d-%H%M%S')}.tar.gz")
    report = archive.write(home, target, lambda name, size: output.progress(f"{name}  {size:,} bytes"))
    if as_json:
        output.document({"file": str(target), "parts": [{"name": name, "bytes": size} for name, size in report.parts]})
        return
    output.line(str(target))
    output.progress(f"  next: tar tzf {target}; look into it before you send it")
