"""One model in one mode in a process of its own, asked by its parent; see `precision.tracing.worker`."""

from __future__ import annotations

import select
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from precision.errors import CannotRun, UserError
from precision.inputs import Float32
from precision.live import KernelError, Live, find_mode
from precision.modes import Mode
from precision.requirements import missing
from precision.serve import receive, send

Arrays = Mapping[str, Float32]
Answer = Callable[[Mapping[str, Any], dict[str, Float32]], tuple[dict[str, Any], Arrays]]
"""Given a call's head and arrays, what the worker is told: {"feed": True} and arrays, or nothing."""


class TraceProcess(Live):
    """`with TraceProcess(file, mode, "A") as a: a.load()`.  Errors of the user's code are `UserError`s."""

    def __init__(self, file: Path, mode: str | Mode, side: str, timeout: float = 600.0) -> None:
        self.mode = find_mode(mode)
        self.timeout, self.calls, self.file, self.side = timeout, 0, file, side
        reason = missing(self.mode)
        if reason:
            raise CannotRun(reason)
        self._start("precision.tracing.worker", KERAS_BACKEND="tensorflow")
        # Answered by `ready`: two processes load their frameworks side by side.
        send(self._to, self._job)

    def ready(self) -> None:
        """Wait until the framework is loaded and its mode set.  Raises CannotRun or UserError."""
        asked = dict(self.mode.switches)
        try:
            if not select.select([self._from], [], [], self.timeout)[0]:
                raise KernelError(f"no answer within {self.timeout:g} s")
            head, _ = receive(self._from)
        except (EOFError, KernelError) as error:
            raise UserError(f"a framework loads; {self.mode.name}: {error}; try again") from None
        if not head:
            raise UserError(
                f"a framework loads; the process of {self.mode.name} ended: {self._ending()}; "
                "import the framework alone to see why"
            )
        if head["status"] == "not run":
            raise CannotRun(head["reason"])
        self.read_back: dict[str, Any] = head["read_back"]
        self.versions: dict[str, str] = head["versions"]
        wrong = {name for name, value in asked.items() if self.read_back.get(name) != value}
        if wrong:
            raise UserError(
                f"a switch is read back as asked; mode {self.mode.name} did not take {sorted(wrong)}; "
                "choose another mode"
            )

    def ask(
        self, request: Mapping[str, Any], arrays: Arrays | None = None
    ) -> tuple[dict[str, Any], dict[str, Float32]]:
        """One request, answered at once."""
        return self._done(*self._talk(request, arrays or {}), str(request["do"]))

    def run(  # type: ignore[override]
        self, request: Mapping[str, Any], arrays: Arrays, answer: Answer
    ) -> dict[str, Any]:
        """One pass; `answer` is asked for every call of it."""
        for head, found, reply in self.steps(request, arrays):
            reply.update(zip(("head", "arrays"), answer(head, found), strict=True))
        return self.finished

    def steps(self, request: Mapping[str, Any], arrays: Arrays) -> Any:
        """One pass, as a generator of (head, arrays, reply); fill `reply` in before the next is asked for."""
        head, found = self._talk(request, arrays)
        while head.get("status") == "call":
            reply: dict[str, Any] = {}
            yield head, found, reply
            # An empty head would say that the parent has gone.
            head, found = self._talk({"on": True, **reply.get("head", {})}, reply.get("arrays", {}))
        self.finished, _ = self._done(head, found, str(request["do"]))

    def _talk(self, head: Mapping[str, Any], arrays: Arrays) -> tuple[dict[str, Any], dict[str, Float32]]:
        try:
            return self._exchange(head, arrays)
        except KernelError as error:
            raise UserError(
                f"model {self.side} must run to its end; {self.file} in {self.mode.name}: {error}; "
                "run the model alone to see why"
            ) from None

    def _done(
        self, head: dict[str, Any], found: dict[str, Float32], what: str
    ) -> tuple[dict[str, Any], dict[str, Float32]]:
        if head.get("status") == "ok":
            return head, found
        reason = str(head.get("reason", "no reason given"))
        if head.get("status") == "refused":
            raise UserError(reason)
        where = f" ({head['where']})" if head.get("where") else ""
        doing = {
            "load": ("a model file runs, and so does its model()", "mend the file"),
            "inputs": ("inputs() returns arrays", "mend inputs()"),
            "gradients": ("a model lets gradients through", "mend its backward pass, or trace without"),
            "total_gradients": ("a model lets gradients through", "mend its backward pass, or trace without"),
            "assign": ("weights fit the parameter they are carried to", "check the layer"),
        }.get(what, ("a model takes the input and runs", "check --shape, --input or the model"))
        raise ModelError(f"{doing[0]}; model {self.side}, {self.file}{where}, raised {reason}; {doing[1]}")


class ModelError(UserError):
    """The user's model raised."""


def units_of(chains: Sequence[Sequence[int]]) -> list[list[int]]:
    """Units as a request holds them."""
    return [list(map(int, chain)) for chain in chains]
