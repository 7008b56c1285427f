"""Where the time and the memory of a command went: a table with one line per stage that it reported."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field

from pipeline.console import Progress


@dataclass
class Stage:
    """One stage: seconds on the clock, seconds of all processor cores, and the process's peak memory at its end.

    ``card_mb`` is the peak of a CUDA card's memory, None as long as no card is used.
    """

    name: str
    wall: float = 0.0
    cpu: float = 0.0
    peak_mb: float | None = None
    card_mb: float | None = None


@dataclass
class StageTable:
    """Listens to a progress callback and books time on the stage that was reported last.

    Attributes:
        listener: who else wants to hear. stages: in order of their first report; a stage that comes back is added up.
    """

    listener: Progress
    stages: dict[str, Stage] = field(default_factory=dict)
    _current: str | None = None
    _since: tuple[float, float] = (0.0, 0.0)

    def __call__(self, stage: str, share: float) -> None:
        """A :data:`pipeline.console.Progress`."""
        if stage != self._current:
            self.stop()
            self._current = stage
        self.listener(stage, share)

    def stop(self) -> None:
        """Book what has passed since the last change of stage."""
        now = time.perf_counter(), time.process_time()
        if self._current is not None:
            entry = self.stages.setdefault(self._current, Stage(self._current))
            entry.wall += now[0] - self._since[0]
            entry.cpu += now[1] - self._since[1]
            entry.peak_mb, entry.card_mb = peak_memory_mb(), peak_card_mb()
        self._current, self._since = None, now

    @property
    def seconds(self) -> float:
        """On the clock, all stages."""
        return sum(s.wall for s in self.stages.values())

    def to_json(self) -> list[dict[str, float | str | None]]:
        """Plain values, one object per stage."""
        return [
            {"stage": s.name, "seconds": round(s.wall, 3), "cpu_seconds": round(s.cpu, 3),
             "peak_mb": None if s.peak_mb is None else round(s.peak_mb),
             "card_mb": None if s.card_mb is None else round(s.card_mb)}
            for s in self.stages.values()
        ]  # fmt: skip

    def as_text(self) -> str:
        """The table for people, with a last line for the sum."""
        rows = list(self.stages.values())
        whole = Stage("all", self.seconds, sum(s.cpu for s in rows), peak_memory_mb(), peak_card_mb())
        lines = [f"{'stage':<28} {'seconds':>9} {'CPU s':>9} {'peak MB':>9}"]
        lines[0] += "" if whole.card_mb is None else f" {'card MB':>9}"
        for s in [*rows, whole]:
            peak, card = ("" if mb is None else f"{mb:.0f}" for mb in (s.peak_mb, s.card_mb))
            line = f"{s.name:<28} {s.wall:>9.2f} {s.cpu:>9.2f} {peak:>9}"
            lines.append(line if whole.card_mb is None else f"{line} {card:>9}")
        return "\n".join(lines)


def peak_memory_mb() -> float | None:
    """The most memory that this process has held so far, in MB; None where the system does not say."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak / 1e3


def peak_card_mb() -> float | None:
    """The most memory that torch has held on the CUDA card so far, in MB; None where no card is in use."""
    torch = sys.modules.get("torch")  # not imported for this: a command that needs no torch has no card either
    if torch is None or not torch.cuda.is_initialized():
        return None
    return torch.cuda.max_memory_reserved() / 1e6
