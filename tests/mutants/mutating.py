"""Makes the mutants of a module: mutmut's operators, on decorated functions too, and what is left out.

Left out, because no test is to hold it: the wording of errors and of the log (texts with a space in them, and what is
passed to the log), names of codecs in another case, texts of types for `cast`. Also left out, because a mutant is put
into a process that has loaded the module: what runs at import (constants, defaults of arguments, decorators).
"""

from __future__ import annotations

import ast
import difflib
import random
from dataclasses import dataclass, fields
from textwrap import indent
from typing import TYPE_CHECKING, Final

import libcst as cst
from libcst.metadata import MetadataWrapper, ParentNodeProvider, PositionProvider
from mutmut.mutation.file_mutation import NEVER_MUTATE_FUNCTION_NAMES, MutationVisitor
from mutmut.mutation.mutators import mutation_operators
from mutmut.mutation.pragma_handling import IgnoredCode

from tests.mutants.scope import CHECKS, ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

CODECS: Final = {"ascii", "utf-8"}
LOGS: Final = {"log"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """A change of one function; `lines` are those of the statement that holds it, in the module as it is."""

    module: str
    function: str
    first_line: int
    lines: range
    was: str
    became: str
    source: str

    @property
    def name(self) -> str:
        """What tells it from the others, wherever its function stands in the module."""
        return f"{self.module}::{self.function}\n{self.was}\n{self.became}"


class _Visitor(MutationVisitor):  # type: ignore[misc]
    """Takes decorated functions too: a mutant here is the code of a function, not another function."""

    def _skip_node_and_children(self, node: cst.CSTNode) -> bool:
        if isinstance(node, cst.FunctionDef) and node.name.value not in NEVER_MUTATE_FUNCTION_NAMES:
            return False
        return bool(isinstance(node, cst.Param) or super()._skip_node_and_children(node))


def mutants_of(module: str, sample: int, seed: int) -> tuple[list[Mutant], int]:
    """Return the mutants of a module, or a sample of them drawn by the seed, and how many there are."""
    source = (ROOT / module).read_text()
    wrapper = MetadataWrapper(cst.parse_module(source))
    visitor = _Visitor(mutation_operators, IgnoredCode(set(), set(), set()))
    wrapper.visit(visitor)
    positions, parents = wrapper.resolve(PositionProvider), wrapper.resolve(ParentNodeProvider)
    functions = _functions(ast.parse(source))
    mutations = [
        mutation
        for mutation in visitor.mutations
        if isinstance(outer := mutation.contained_by_top_level_function, cst.FunctionDef)
        and functions[positions[outer].start.line] in CHECKS.get(module, functions.values())
        and not _is_left_out(mutation.original_node, mutation.mutated_node, parents)
    ]
    total = len(mutations)
    if 0 < sample < total:
        mutations = random.Random(f"{seed} {module}").sample(mutations, sample)
    found: dict[str, Mutant] = {}
    for mutation in mutations:
        outer = mutation.contained_by_top_level_function
        new = _replace(mutation.original_node, mutation.mutated_node, parents, outer)
        before, after = wrapper.module.code_for_node(outer), wrapper.module.code_for_node(new)
        was, became = _difference(before, after)
        first = min(positions[node].start.line for node in (outer, *outer.decorators))
        mutant = Mutant(
            module=module,
            function=functions[positions[outer].start.line],
            first_line=first,
            lines=_lines_of(mutation.original_node, positions, parents),
            was=was,
            became=became,
            source=_splice(source, after, range(first, positions[outer].end.line + 1), len(outer.leading_lines)),
        )
        if was != became and _compiles(mutant.source):
            found.setdefault(mutant.name, mutant)
    return list(found.values()), total


def _splice(source: str, function: str, place: range, leading: int) -> str:
    """Return the source with these lines replaced by a function, whose first `leading` lines are before them."""
    lines = source.splitlines(keepends=True)
    old = lines[place.start - 1]
    indentation = old[: len(old) - len(old.lstrip())]
    new = indent("".join(function.splitlines(keepends=True)[leading:]), indentation)
    return "".join([*lines[: place.start - 1], new, *lines[place.stop - 1 :]])


def _compiles(source: str) -> bool:
    try:
        compile(source, "mutant", "exec")
    except SyntaxError:
        return False
    return True


def _replace(
    node: cst.CSTNode, by: cst.CSTNode, parents: Mapping[cst.CSTNode, cst.CSTNode], outer: cst.CSTNode
) -> cst.CSTNode:
    """Return what is within `outer` with a node replaced: only what is above it is made anew."""
    while node is not outer:
        parent = parents[node]
        changes: dict[str, object] = {}
        for field in fields(parent):
            held = getattr(parent, field.name)
            if held is node:
                changes[field.name] = by
            elif isinstance(held, (list, tuple)) and any(one is node for one in held):
                changes[field.name] = [by if one is node else one for one in held]
        node, by = parent, parent.with_changes(**changes)
    return by


def _functions(tree: ast.Module) -> dict[int, str]:
    """Return the qualified names of functions and methods by the line of their `def`."""
    inside = [(f"{node.name}.", node.body) for node in tree.body if isinstance(node, ast.ClassDef)]
    return {
        node.lineno: before + node.name
        for before, body in [("", tree.body), *inside]
        for node in body
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    }


def _lines_of(
    node: cst.CSTNode,
    positions: Mapping[cst.CSTNode, cst.metadata.CodeRange],
    parents: Mapping[cst.CSTNode, cst.CSTNode],
) -> range:
    """Return the lines from the beginning of the statement that holds a node to the node's end."""
    statement = node
    while not isinstance(statement, cst.BaseSmallStatement | cst.BaseCompoundStatement):
        statement = parents[statement]
    while node not in positions:
        node = parents[node]
    return range(positions[statement].start.line, positions[node].end.line + 1)


def _difference(source: str, changed: str) -> tuple[str, str]:
    """Return the lines that differ, without their indentation, on one line each."""
    lines = list(difflib.unified_diff(source.splitlines(), changed.splitlines(), lineterm="", n=0))[2:]
    return tuple(  # type: ignore[return-value]
        " ".join(line[1:].strip() for line in lines if line.startswith(sign)) for sign in "-+"
    )


def _above(node: cst.CSTNode, parents: Mapping[cst.CSTNode, cst.CSTNode]) -> Iterator[cst.CSTNode]:
    while (parent := parents.get(node)) is not None:
        yield parent
        node = parent


def _is_left_out(node: cst.CSTNode, mutated: cst.CSTNode, parents: Mapping[cst.CSTNode, cst.CSTNode]) -> bool:
    if isinstance(node, cst.SimpleString):
        value = node.raw_value
        return (
            " " in value or (value in CODECS and value == mutated.raw_value.lower()) or _is_cast(parents[node], parents)
        )
    above = [node, *_above(node, parents)]
    if any(isinstance(one, cst.Call) and _is_log(one) for one in above):
        return True
    return isinstance(node, cst.Call) and isinstance(mutated, cst.Call) and _loses_wording(node, mutated)


def _is_cast(node: cst.CSTNode, parents: Mapping[cst.CSTNode, cst.CSTNode]) -> bool:
    call = parents.get(node)
    return isinstance(node, cst.Arg) and isinstance(call, cst.Call) and _called(call) == "cast"


def _called(call: cst.Call) -> str:
    return call.func.value if isinstance(call.func, cst.Name) else ""


def _is_log(call: cst.Call) -> bool:
    return (
        isinstance(call.func, cst.Attribute) and isinstance(call.func.value, cst.Name) and call.func.value.value in LOGS
    )


def _loses_wording(node: cst.Call, mutated: cst.Call) -> bool:
    """Tell whether a call was made with None, or with nothing, for a wording, or if only `cast` changed."""
    if _called(node) == "cast":
        return True
    kept = {id(argument.value) for argument in mutated.args}
    lost = [argument.value for argument in node.args if id(argument.value) not in kept]
    return all(
        isinstance(value, cst.FormattedString | cst.ConcatenatedString)
        or (isinstance(value, cst.SimpleString) and " " in value.raw_value)
        for value in lost
    ) and bool(lost)
