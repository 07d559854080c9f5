"""A progress bar of training."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from ndarena.nn.listeners import TrainingListener
from ndarena.nn.words import size_or_none

__all__ = ["ProgressListener"]


class ProgressListener(TrainingListener):
    """Shows a progress bar for every epoch; it needs ``rich``, the extra ``progress``.

    Parameters
    ----------
    total : int, optional
        How many batches an epoch has. By default the first epoch shows a count, and tells it to the others.

    Raises
    ------
    ImportError
        ``rich`` is not installed.
    """

    def __init__(self, total: int | None = None) -> None:
        self._total = size_or_none(total, "ProgressListener", "total")
        try:
            self._rich: Any = import_module("rich.progress")
        except ImportError as error:
            raise ImportError("ProgressListener needs rich: pip install ndarena[progress]") from error
        self._bar: Any = None
        self._count = 0

    def on_epoch_start(self, model: Any) -> None:
        """Show a bar."""
        self.close()
        rich = self._rich
        self._bar = rich.Progress(
            rich.TextColumn("{task.description}"),
            rich.BarColumn(),
            rich.MofNCompleteColumn(),
            rich.TimeElapsedColumn(),
            rich.TimeRemainingColumn(),
        )
        self._bar.start()
        self._task = self._bar.add_task(f"epoch {model.epoch_count}", total=self._total)
        self._count = 0

    def iteration_done(self, model: Any, iteration: int, epoch: int) -> None:
        """Move on."""
        self._count += 1
        if self._bar is not None:
            text = f"epoch {epoch}, score {model.score():.4g}"
            self._bar.update(self._task, advance=1, description=text)

    def on_epoch_end(self, model: Any) -> None:
        """Leave the bar as it is, full."""
        self._total = self._count or None
        if self._bar is not None:
            self._bar.update(self._task, total=self._total)
        self.close()

    def close(self) -> None:
        """Stop to show the bar, which an epoch that failed leaves behind."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
