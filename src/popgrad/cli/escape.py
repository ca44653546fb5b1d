"""What is shown in a terminal without the characters that would command it."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderableType, RenderHook
from rich.segment import Segment

# Controls but the end of a line and the tabulator, and what turns the direction of the text around.
_COMMANDS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def escape(text: str) -> str:
    r"""A text with such characters as Python writes them: "\x1b[2J"."""
    return _COMMANDS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


@dataclass(frozen=True)
class Escaped:
    """Something to show whose texts may be somebody else's: of a journal, a file, a command line."""

    shown: RenderableType

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterable[Segment]:
        """The same, with its texts escaped; colours and movements of the cursor are rich's own."""
        for segment in console.render(self.shown, options):
            yield segment if segment.control else segment._replace(text=escape(segment.text))


class Escaping(RenderHook):
    """Has a console escape all that it prints."""

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        """What rich calls before it renders."""
        return [Escaped(each) for each in renderables]
