"""Escapes of characters that would command a terminal."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderableType, RenderHook
from rich.segment import Segment

# Control characters except newline and tabulator, and those that change the direction of writing.
_COMMANDS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def escape(text: str) -> str:
    r"""Return a string with such characters as Python writes them, such as "\x1b[2J"."""
    return _COMMANDS.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


@dataclass(frozen=True)
class Escaped:
    """A renderable with its strings escaped.

    Strings of a journal, a file or a command line may come from a stranger.

    Attributes:
        content: Renderable to show.
    """

    content: RenderableType

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterable[Segment]:
        """Render the content; colours and movements of the cursor are rich's own, and stay."""
        for segment in console.render(self.content, options):
            yield segment if segment.control else segment._replace(text=escape(segment.text))


class Escaping(RenderHook):
    """A hook that makes a console escape everything that it prints."""

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        """Escape renderables before rich renders them."""
        return [Escaped(renderable) for renderable in renderables]
