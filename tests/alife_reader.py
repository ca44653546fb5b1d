"""The reader of phylogenies of phylotrackpy, alone in a module.

A `Systematics` writes the names of NumPy, such as `load` and `roots`, over those of the module that makes
it.
"""

from pathlib import Path
from typing import Any

from phylotrackpy.systematics import Systematics


def read_alife(path: Path) -> Any:
    """Return the phylogeny in a file of the ALife standard; its taxa have their labels as their info."""
    systematics = Systematics(str)
    systematics.load_from_file(str(path), "taxon_label", False)
    return systematics
