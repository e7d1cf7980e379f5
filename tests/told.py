"""Who is told how work goes on, in tests."""

from __future__ import annotations

from cxrcad.files import Silent


class Told(Silent):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.steps: list[int] = []

    def step(self, done_steps: int, loss: float | None = None) -> None:
        self.steps.append(done_steps)

    def note(self, text: str) -> None:
        if "perhaps no frontal chest" not in text:  # the toy sees a lung on the whole image
            self.notes.append(text)
