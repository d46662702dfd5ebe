"""Survey: the graph of the demo, in two versions of its schema.

    discover → parse (in batches, until none is left) → measure → report   version 1
                                                                 → advise   version 2

Version 2 adds the field ``undocumented`` and the node ``advise``. Its migration
derives the field from what version 1 has kept, so a run that changes its schema
on the way ends exactly like one that had version 2 from the start.
"""

from __future__ import annotations

from collections import Counter
from itertools import islice
from typing import Annotated, Literal, Protocol

from actorflow import Context, Graph, State, Update, extend
from actorflow.demo.measure import FileFacts, measure_file, python_files


class SurveyV1(State, version=1, name="Survey"):
    """What is known of a folder of Python files."""

    root: str
    batch: int = 10  # files that are parsed in one activation
    limit: int = 2000  # files that are surveyed at most
    paths: list[str] = []
    files: Annotated[list[FileFacts], extend] = []
    totals: dict[str, int] = {}
    longest: str = ""
    imported: dict[str, int] = {}  # package: how many of the other packages import it
    report: Annotated[list[str], extend] = []


def add_up(old: dict[str, int], update: dict[str, int]) -> dict[str, int]:
    """A reducer: counts by name, added."""
    return dict(Counter(old) + Counter(update))


class Survey(SurveyV1, version=2, name="Survey"):
    """Version 2: also how many definitions of each package have no docstring."""

    undocumented: Annotated[dict[str, int], add_up] = {}


class Work(Protocol):
    """What the nodes need from outside: somebody who is told of every file that was parsed."""

    def done(self, path: str) -> None:
        """This file was parsed, whether that is committed or not."""
        ...


def discover(state: SurveyV1) -> Update:
    """Fix the list of files: whatever is added to the folder later does not belong to this survey."""
    return {"paths": list(islice(python_files(state.root), state.limit))}


def parse(state: SurveyV1, ctx: Context) -> Update:
    """Parse the next batch. How far the survey is, is what it has: the files."""
    work: Work = ctx.context
    begin = len(state.files)
    batch: list[FileFacts] = []
    for path in state.paths[begin : begin + state.batch]:
        batch.append(measure_file(state.root, path))
        work.done(path)
    return {"files": batch}


def parse_and_count(state: Survey, ctx: Context) -> Update:
    """`parse`, with what version 2 wants to know of each batch."""
    update = parse(state, ctx)
    return {**update, "undocumented": undocumented(update["files"])}


def is_left(state: SurveyV1) -> Literal["parse", "measure"]:
    """The loop: back to parsing while files are left."""
    return "parse" if len(state.files) < len(state.paths) else "measure"


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
survey_v1.node(discover, entry=True)
survey_v1.node(parse, after=discover)
survey_v1.branch(is_left, after="parse")
survey_v1.node(measure)
survey_v1.node(report, after=measure)

survey = Graph("survey", Survey)
survey.node(discover, entry=True)
survey.node(parse_and_count, name="parse", after=discover)
survey.branch(is_left, after="parse")
survey.node(measure)
survey.node(report, after=measure)
survey.node(advise, after=report)


@survey.migrate
def count_undocumented(old: SurveyV1) -> Survey:
    """What version 2 would have counted while parsing, from the facts that version 1 has kept."""
    kept = {name: getattr(old, name) for name in SurveyV1.__struct_fields__}
    return Survey(**kept, undocumented=undocumented(old.files))
