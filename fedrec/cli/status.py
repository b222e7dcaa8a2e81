"""What is said, on standard error, while many runs are made."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

from fedrec.progress import Progress


@contextmanager
def status_line() -> Iterator[tuple[Progress, Progress]]:
    """Two functions: one for what is begun, one for what goes on in it.

    On a terminal both are one line that changes; where a pipe reads, a line for each that is begun.
    """
    console = Console(stderr=True, markup=False)
    with console.status("") as status:
        begun = ""

        def progress(text: str) -> None:
            nonlocal begun
            begun = text
            status.update(text)
            if not console.is_terminal:
                console.print(text, highlight=False, soft_wrap=True)

        def details(text: str) -> None:
            status.update(f"{begun}: {text}")

        yield progress, details
