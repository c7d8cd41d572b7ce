"""What this machine can measure: frameworks, libraries, modes, and switches that contradict each other.

diagnose() -> Diagnosis
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from precision.doctor.bits import ProbeBits, changed, probe_bits
from precision.doctor.facts import Facts, gather
from precision.doctor.live import PROBES, SECONDS, ModeBits, Probe, ask_modes
from precision.doctor.rules import Contradiction, contradictions
from precision.modes import FRAMEWORKS, MODES, Mode
from precision.requirements import missing

SCHEMA = 1


@dataclass(frozen=True)
class Diagnosis:
    """reasons: by mode, why it cannot run here; empty where it can. answers: what the modes returned, empty
    where they were not asked."""

    facts: Facts
    modes: tuple[Mode, ...]
    reasons: Mapping[str, str]
    contradictions: tuple[Contradiction, ...]
    answers: Mapping[str, ModeBits]
    probes: tuple[ProbeBits, ...]

    @property
    def runnable(self) -> tuple[Mode, ...]:
        return tuple(mode for mode in self.modes if not self.reasons[mode.name])

    @property
    def installed(self) -> bool:
        """Whether there is a framework at all."""
        return any(each.installed for each in self.facts.frameworks.values())

    def changes(self, mode: Mode) -> list[str] | None:
        """Probes whose bits a mode changes; see `doctor_bits.changed`."""
        return changed(mode, self.runnable, self.probes) if self.answers else None

    def to_json(self) -> dict[str, Any]:
        """The schema of `precision doctor --json`."""
        facts = self.facts
        return {
            "schema": SCHEMA,
            "machine": {
                "cpu": facts.cpu,
                "cores": facts.cores,
                "isa": dict(facts.isa),
                "gpus": list(facts.gpus),
                "nvidia_driver": facts.driver,
            },
            "environment": dict(facts.environment),
            "frameworks": {
                each.name: {"installed": each.installed, "reason": each.reason, **each.facts}
                for each in facts.frameworks.values()
            },
            "modes": [self._mode(mode) for mode in self.modes],
            "contradictions": [
                {"rule": each.rule, "finding": each.finding, "mend": each.mend, "effect_here": each.here}
                for each in self.contradictions
            ],
            "probes": [
                {"name": each.name, "distinct_results": each.distinct, "apart_ulp_of_largest": each.apart}
                for each in self.probes
            ],
        }

    def _mode(self, mode: Mode) -> dict[str, Any]:
        answer = self.answers.get(mode.name)
        reason = self.reasons[mode.name]
        row: dict[str, Any] = {
            "mode": mode.name,
            "title": mode.title,
            "framework": mode.framework,
            "device": mode.device,
            "runnable": not reason,
            "reason": reason or (answer.reason if answer else ""),
        }
        if answer is not None:
            row["bits"] = {each.name: each.letters[mode.name] for each in self.probes}
            row["changes"] = self.changes(mode)
            row["differs_between_calls"] = list(answer.repeats)
            row["not_answered"] = dict(answer.reasons)
        return row


def diagnose(
    live: bool = True,
    advance: Callable[[str], Any] = lambda what: None,
    modes: Sequence[Mode] = MODES,
    probes: Sequence[Probe] = PROBES,
    seconds: float = SECONDS,
) -> Diagnosis:
    """Look at this machine; with `live`, ask every mode that can run here, for at most `seconds`.

    advance: called after each framework and each mode with its name.
    """
    end = time.monotonic() + seconds
    facts = gather(advance)
    reasons = {mode.name: missing(mode) for mode in modes}
    runnable = [mode for mode in modes if not reasons[mode.name]]
    answers = ask_modes(runnable, advance, probes, end - time.monotonic()) if live and runnable else {}
    bits = tuple(probe_bits(probe.name, answers) for probe in probes) if answers else ()
    return Diagnosis(facts, tuple(modes), reasons, contradictions(facts), answers, bits)


def steps(live: bool = True, modes: Sequence[Mode] = MODES) -> int:
    """How often `diagnose` calls `advance`."""
    runnable = sum(not missing(mode) for mode in modes) if live else 0
    return len(FRAMEWORKS) + runnable
