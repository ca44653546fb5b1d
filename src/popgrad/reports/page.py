"""The page of a run as one file: scripts, styles and data in it, so that it opens offline."""

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from popgrad.store.atomic import replacing

_STATIC = files("popgrad") / "dashboard" / "static"

_LINK = re.compile(r'<link rel="stylesheet" href="static/([\w./-]+)">')
_SCRIPT = re.compile(r'<script src="static/([\w./-]+)"></script>')


def page(data: Mapping[str, Any]) -> str:
    """Return a page that needs no server and no other file.

    A policy in it permits its own scripts and styles alone, by their digests, and no request.

    Args:
        data: Data of a run, as `run_data` returns it.
    """
    styles: list[str] = []
    scripts: list[str] = []

    def style(match: re.Match[str]) -> str:
        styles.append(_static(match[1]))
        return f"<style>{styles[-1]}</style>"

    def script(match: re.Match[str]) -> str:
        scripts.append(_static(match[1]))
        return f"<script>{scripts[-1]}</script>"

    html = _LINK.sub(style, _static("index.html"))
    html = _SCRIPT.sub(script, html)
    html = html.replace(
        '<meta charset="utf-8">', f'<meta charset="utf-8">\n{_policy(styles, scripts)}'
    )
    return html.replace(
        '<div id="popgrad"></div>', f'<div id="popgrad"></div>\n{_data_block(data)}'
    )


def write_page(data: Mapping[str, Any], path: Path) -> None:
    """Write a page as a whole or not at all.

    Raises:
        OSError: The file cannot be written.
    """
    with replacing(path) as aside:
        aside.write_text(page(data), encoding="utf-8", newline="\n")


def _static(name: str) -> str:
    """Return a file of the package as it may stand within a page."""
    content = _STATIC.joinpath(name).read_text(encoding="utf-8")
    # A browser reads line ends as "\n", so the digest must be of that.
    return content.replace("\r\n", "\n")


def _policy(styles: list[str], scripts: list[str]) -> str:
    """Return the element that permits these styles and scripts, and nothing else."""
    rules = [
        "default-src 'none'",
        f"style-src {' '.join(map(_digest, styles))}",
        f"script-src {' '.join(map(_digest, scripts))}",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
    ]
    return f'<meta http-equiv="Content-Security-Policy" content="{"; ".join(rules)}">'


def _digest(content: str) -> str:
    digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
    return f"'sha256-{digest}'"


def _data_block(data: Mapping[str, Any]) -> str:
    """Return the data as an element that is never executed, and that no text in it can end."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return f'<script type="application/json" id="popgrad-data">{escaped(text)}</script>'


def escaped(json_text: str) -> str:
    r"""Return a string of JSON without the characters that begin markup, each as JSON may write it.

    Example:
        >>> escaped('{"name": "</script>"}')
        '{"name": "\\u003c/script\\u003e"}'
    """
    for character in "<>&":
        json_text = json_text.replace(character, f"\\u{ord(character):04x}")
    return json_text
