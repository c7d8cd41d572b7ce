"""One row of a study: what a document saw, what is seen now, the truth, the cause, the mend.

A study is a suite (`precision.suites.NAME`) with a module beside this one, `precision.studies.NAME`, that has

    def rows(material: Material) -> list[Row]

What the document says is data: `documents/NAME.json` (see `Document`).  Everything else of a row is made from
the run: scores, budgets, captured outputs, experiments.  `Entry.row_of` joins the two:

    def _conv_even(material: Material, entry: Entry) -> Row:
        y = material.output("conv2d-even", "torch.cpu")
        ...
        return entry.row_of(now=..., truth=..., cause="semantics", evidence="proved", detail=..., mend=...,
                         recurs="partly", why=..., figures=[figure("largest difference", 9.0, doc=None)])

    MAKERS = {"conv-even": _conv_even, ...}

    def rows(material: Material) -> list[Row]:
        return made("notebook", MAKERS, material)

`made` goes through the document's rows in order.  A maker that raises `CannotRun` or `KernelError` (the run
lacks a mode, a case, or a framework) becomes a row that says so, with evidence `none`; a row that no maker
makes, and a maker without a row, are errors.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from precision.errors import CannotRun
from precision.judging.finding import plain
from precision.live import KernelError

if TYPE_CHECKING:
    from precision.studies.material import Material

CAUSES = (
    "none",
    "semantics",
    "data",
    "operand rounding",
    "algorithm",
    "accumulation",
    "output rounding",
    "unexplained",
)
"""`none`: nothing differs, or nothing can be compared; the detail says which."""
EVIDENCE = ("proved", "bounded", "consistent", "none")
RECURS = ("yes", "no", "partly")
SCHEMA = 1
_FOLDER = Path(__file__).parent / "documents"


@dataclass(frozen=True)
class Row:
    """One row; all of it text, but for `figures`.

    study, row: the study's name and the row's id in it. title: a few words. source: where in the document.
    document: what the document saw. now: what is seen now. truth: what is right. cause, evidence: words of
    `CAUSES` and `EVIDENCE`. detail: the cause in words, and the experiment that shows it. mend: what to do
    about it, empty where nothing is to be mended. recurs: whether the document's figure comes out again, and
    why: why it does, does not, or does only in part. figures: the document's columns beside ours, as `figure`
    makes them.
    """

    study: str
    row: str
    title: str
    source: str
    document: str
    now: str
    truth: str
    cause: str
    evidence: str
    detail: str
    mend: str
    recurs: str
    why: str
    figures: tuple[Mapping[str, Any], ...] = ()

    def __post_init__(self) -> None:
        for name, words in (("cause", CAUSES), ("evidence", EVIDENCE), ("recurs", RECURS)):
            if getattr(self, name) not in words:
                raise ValueError(
                    f"{name} is one of {', '.join(words)}; row {self.row} has {getattr(self, name)!r}"
                )
        for name in ("title", "source", "document", "now", "truth", "detail", "why"):
            if not getattr(self, name):
                raise ValueError(f"a row says its {name}; row {self.row} of {self.study} has none")

    def to_json(self) -> dict[str, Any]:
        """The row of `reports.schema.STUDIES`: text, the figures as JSON."""
        row = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "figures"}
        figures = json.dumps([plain(dict(each)) for each in self.figures], ensure_ascii=False)
        return {**row, "figures": figures}


def figure(name: str, now: Any, document: Any = None, truth: Any = None, note: str = "") -> dict[str, Any]:
    """One figure of a row: its name (with the unit), ours, the document's, the true one; None: none."""
    return {"name": name, "document": document, "now": now, "truth": truth, "note": note}


@dataclass(frozen=True)
class Entry:
    """What the document has of a row: words, where they stand, and its own numbers by name."""

    study: str
    row: str
    title: str
    source: str
    document: str
    figures: Mapping[str, Any] = field(default_factory=dict)

    def row_of(self, **found: Any) -> Row:
        """The row with what was found; the arguments are the other fields of `Row`."""
        return Row(
            self.study,
            self.row,
            self.title,
            self.source,
            self.document,
            **{**found, "figures": tuple(found.get("figures", ()))},
        )

    def unseen(self, reason: str) -> Row:
        """The row where the run lacks what it needs."""
        return self.row_of(
            now=f"not seen in this run: {reason}",
            truth="not computed for this run",
            cause="none",
            evidence="none",
            detail="nothing is compared, so nothing is explained",
            mend="run the study in the modes that are missing",
            recurs="no",
            why=f"it was not tried: {reason}",
        )


@dataclass(frozen=True)
class Document:
    """A document: `documents/NAME.json`, an object with `schema` (1), `study`, `title`, `about` and `rows`.

    A row of it has `row` (an id), `title`, `source` (the place in the document), `document` (what it says, in
    words) and `figures`: its numbers by name, exactly as printed.
    """

    study: str
    title: str
    about: str
    entries: tuple[Entry, ...]

    def entry(self, row: str) -> Entry:
        """The entry of that id; KeyError where there is none."""
        return {each.row: each for each in self.entries}[row]


@cache
def load_document(study: str) -> Document:
    """Read a study's document.  Raises ValueError where its data file breaks the schema."""
    path = _FOLDER / f"{study.replace('-', '_')}.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    if content.get("schema") != SCHEMA or content.get("study") != study:
        raise ValueError(f"{path.name} is of schema {SCHEMA} and of the study {study}; it is not: mend it")
    entries = tuple(
        Entry(study, each["row"], each["title"], each["source"], each["document"], each.get("figures", {}))
        for each in content["rows"]
    )
    if len({each.row for each in entries}) < len(entries):
        raise ValueError(f"the rows of a document have ids of their own; two of {path.name} share one")
    return Document(study, content["title"], content["about"], entries)


class Maker(Protocol):
    """Makes one row from the run's material and the document's entry."""

    def __call__(self, material: Material, entry: Entry, /) -> Row: ...


def made(study: str, makers: Mapping[str, Maker], material: Material) -> list[Row]:
    """The rows of a study, in the order of its document.  Raises ValueError for a row without a maker."""
    entries = load_document(study).entries
    known = [each.row for each in entries]
    odd = sorted(set(known) ^ set(makers))
    if odd:
        raise ValueError(f"each row of {study} has one maker; {odd[0]!r} is on one side alone: add the other")
    rows = []
    for entry in entries:
        try:
            rows.append(makers[entry.row](material, entry))
        except (CannotRun, KernelError) as reason:
            rows.append(entry.unseen(str(reason)))
    return rows


Rows = Callable[["Material"], Sequence[Row]]
"""What a study's module has as `rows`."""
