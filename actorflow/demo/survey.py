"""Survey: the graph of the demo, in two versions of its schema.

    discover → parse (each file, in worker processes) → measure → report   version 1
                                                                → advise   version 2

Version 2 adds the field ``undocumented`` and the node ``advise``. A run that
changes its schema on the way ends exactly like one that had version 2 from the
start: the node that fills the field comes after the fan-out, and for a run that
is past it the migration derives the field from what version 1 has kept.
"""

from __future__ import annotations

import time
from collections import Counter
from itertools import islice
from typing import Annotated

from msgspec import Struct

from actorflow import Graph, State, Update, extend
from actorflow.demo.measure import FileFacts, measure_file, python_files
from actorflow.demo.worklog import note


class SurveyV1(State, version=1, name="Survey"):
    """What is known of a folder of Python files."""

    root: str
    limit: int = 2000  # files that are surveyed at most
    paths: list[str] = []
    files: list[FileFacts] = []
    totals: dict[str, int] = {}
    longest: str = ""
    imported: dict[str, int] = {}  # package: how many of the other packages import it
    report: Annotated[list[str], extend] = []


class Survey(SurveyV1, version=2, name="Survey"):
    """Version 2: also how many definitions of each package have no docstring."""

    undocumented: dict[str, int] = {}


class Source(Struct, frozen=True):
    """An item of the fan-out: a file that is to be parsed."""

    root: str
    path: str


def discover(state: SurveyV1) -> Update:
    """Fix the list of files: whatever is added to the folder later does not belong to this survey."""
    return {"paths": list(islice(python_files(state.root), state.limit))}


def sources(state: SurveyV1) -> list[Source]:
    """The items. They are fixed when the fan-out begins."""
    return [Source(state.root, path) for path in state.paths]


def parse(source: Source) -> FileFacts:
    """Parse a file: in a worker process, and for good as soon as its result is committed."""
    begin = time.perf_counter()
    facts = measure_file(source.root, source.path)
    note(source.path, seconds=time.perf_counter() - begin)
    return facts


def measure(state: SurveyV1) -> Update:
    """From facts of files to figures of the folder."""
    packages = {facts.package for facts in state.files}
    between = {(facts.package, name) for facts in state.files for name in facts.imports if name in packages}
    functions = [(facts.longest.lines, facts.longest.name, facts.path) for facts in state.files if facts.longest]
    lines, name, path = max(functions, default=(0, "", ""))
    return {
        "totals": {
            "files": len(state.files),
            "unparsed": sum(facts.problem is not None for facts in state.files),
            "packages": len(packages),
            "lines": sum(facts.lines for facts in state.files),
            "functions": sum(facts.functions for facts in state.files),
            "classes": sum(facts.classes for facts in state.files),
            "documented": sum(facts.documented for facts in state.files),
        },
        "longest": f"{name} in {path}, {lines:,} lines" if name else "",
        "imported": dict(Counter(name for package, name in between if package != name).most_common()),
    }


def measure_more(state: Survey) -> Update:
    """`measure`, with what version 2 wants to know."""
    return {**measure(state), "undocumented": undocumented(state.files)}


def report(state: SurveyV1) -> Update:
    """The figures as lines for people."""
    totals = state.totals
    definitions = totals["functions"] + totals["classes"]
    share = totals["documented"] / definitions if definitions else 0
    lines = [
        f"{totals['files']:,} files ({totals['unparsed']:,} unparsable) in {totals['packages']:,} packages",
        f"{totals['lines']:,} lines",
        f"{totals['functions']:,} functions and {totals['classes']:,} classes, {share:.0%} documented",
    ]
    if state.longest:
        lines.append(f"longest function: {state.longest}")
    if state.imported:
        lines.append(f"most imported: {_ranked(state.imported, 5)}")
    return {"report": lines}


def advise(state: Survey) -> Update:
    """New in version 2: where a docstring is missed most."""
    if not state.undocumented:
        return {"report": ["every definition is documented"]}
    return {"report": [f"most undocumented: {_ranked(state.undocumented, 5)}"]}


def undocumented(files: list[FileFacts]) -> dict[str, int]:
    """How many definitions without docstring each package has; packages that have none are left out."""
    counts: Counter[str] = Counter()
    for facts in files:
        counts[facts.package] += facts.functions + facts.classes - facts.documented
    return dict(+counts)


def _ranked(counts: dict[str, int], first: int) -> str:
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{name} ({count})" for name, count in ranked[:first])


survey_v1 = Graph("survey", SurveyV1)
survey_v1.node(discover)
survey_v1.map(parse, after=discover, over=sources, into="files", isolate="process")
survey_v1.node(measure, after=parse)
survey_v1.node(report, after=measure)

survey = Graph("survey", Survey)
survey.node(discover)
survey.map(parse, after=discover, over=sources, into="files", isolate="process")
survey.node(measure_more, name="measure", after=parse)
survey.node(report, after="measure")
survey.node(advise, after=report)


@survey.migrate
def count_undocumented(old: SurveyV1) -> Survey:
    """What version 2 would have counted, from the facts that version 1 has kept."""
    kept = {name: getattr(old, name) for name in SurveyV1.__struct_fields__}
    return Survey(**kept, undocumented=undocumented(old.files))
