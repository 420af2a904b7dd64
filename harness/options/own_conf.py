"""A user's own YAML files: what lies in ``./conf`` is found as if it lay in this project's ``conf/``."""

from __future__ import annotations

from pathlib import Path

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin

from harness.options.shipped import CONF


class OwnConf(SearchPathPlugin):
    """Searches ``./conf`` after this project's own files, so that no other project's ``conf`` changes what ships."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        own = Path.cwd() / "conf"
        if own.is_dir() and own.resolve() != CONF:
            search_path.append("./conf", f"file://{own}")


def search_own_conf() -> None:
    """Make Hydra search the user's folder from now on."""
    Plugins.instance().register(OwnConf)
