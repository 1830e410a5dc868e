"""Whom a service tells, by its environment."""

from __future__ import annotations

import os
from collections.abc import Mapping

from aya.alerts.config import AlertSettings
from aya.errors import ConfigError
from aya.home import locate
from aya.settings import load_config


def alerts_of(environ: Mapping[str, str] = os.environ) -> AlertSettings:
    """Return what aya.toml of AYA_HOME says; nobody where there is none, or where it cannot be read.

    A service that needs the file has refused it before, and one that does not must run.
    """
    if not environ.get("AYA_HOME"):
        return AlertSettings()
    try:
        return load_config(locate(environ["AYA_HOME"]), environ).alerts
    except ConfigError:
        return AlertSettings()
