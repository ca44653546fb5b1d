"""The verdict of a run's ablation, as far as there is one."""

from popgrad.gates.files import read_bytes
from popgrad.gates.sizes import TEXT, parse_json
from popgrad.store.directory import Directory


def read_verdict(directory: Directory) -> str:
    """Return the sentence of a run's ablation; "" = there is none that can be read."""
    try:
        row = parse_json(read_bytes(directory.ablation / "ablation.json", TEXT).decode())
    except (OSError, ValueError):
        return ""
    sentence = row.get("sentence") if isinstance(row, dict) else None
    return sentence if isinstance(sentence, str) else ""
