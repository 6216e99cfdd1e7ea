"""The mutants of a module: its source with one small fault each, by ast.

A mutant changes one node in a statement: a comparison by its edge (< to <=) or its sense (== to !=), `and` to
`or`, a lost `not`, a number by one, + to -, a condition turned round, a lost `raise`, call or returned
value, `continue` to `break`. Docstrings, annotations, decorators, bases and the text of errors stay.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent

Function = ast.FunctionDef | ast.AsyncFunctionDef

_SWAPPED: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitAnd,
}


@dataclass(frozen=True, slots=True)
class Mutant:
    """One fault. `function` is the outermost one's qualified name, empty for what runs at import."""

    module: str
    function: str
    before: str
    after: str
    """The statement without and with the fault, without the statements inside it."""
    line: int
    lines: int
    """How many lines the statement has, without those of the statements inside it."""
    node: int
    choice: int
    """Where the fault is: the number of the node in the tree, and which of its faults."""

    @property
    def place(self) -> range:
        """The lines of the statement."""
        return range(self.line, self.line + self.lines)

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What a list of mutants knows one by: no line, so that it may move."""
        return self.module, self.function, self.before, self.after

    def __str__(self) -> str:
        place = self.function or "<import>"
        return f"{self.module}:{self.line} {place}: {self.before}  =>  {self.after}"


class _Tree:
    """A parsed module whose nodes have numbers and parents."""

    def __init__(self, module: str) -> None:
        self.root = ast.parse((ROOT / module).read_text(encoding="utf-8"))
        self.nodes = list(ast.walk(self.root))
        self.parents = {child: node for node in self.nodes for child in ast.iter_child_nodes(node)}
        self.left_alone = {node for top in self.nodes for part in _left_alone(top) for node in ast.walk(part)}

    def above(self, node: ast.AST) -> Iterator[tuple[ast.AST, ast.AST]]:
        """Each parent with the child on the way to it, from the inside out."""
        while node in self.parents:
            yield self.parents[node], node
            node = self.parents[node]

    def statement(self, node: ast.AST) -> ast.stmt:
        inside = node
        while not isinstance(inside, ast.stmt):
            inside = self.parents[inside]
        return inside

    def function(self, node: ast.AST) -> tuple[str, int]:
        """Qualified name and first line of the outermost function whose body has the node; else empty."""
        outermost: Function | None = None
        classes: list[str] = []
        for parent, child in self.above(node):
            if isinstance(parent, ast.ClassDef):
                classes.append(parent.name)
            elif isinstance(parent, Function) and child in parent.body:
                outermost, classes = parent, []
        if outermost is None:
            return "", 0
        line = min([outermost.lineno, *(each.lineno for each in outermost.decorator_list)])
        return ".".join([*reversed(classes), outermost.name]), line

    def replace(self, node: ast.AST, new: ast.AST) -> None:
        _put(self.parents[node], node, new)
        ast.fix_missing_locations(ast.copy_location(new, node))


def _put(parent: ast.AST, node: ast.AST, new: ast.AST) -> None:
    """Put `new` in the place of a child."""
    for field, value in ast.iter_fields(parent):
        if value is node:
            setattr(parent, field, new)
        elif isinstance(value, list) and node in value:
            value[value.index(node)] = new


def mutants_of(module: str) -> list[Mutant]:
    """Every mutant of a module, in a fixed order."""
    tree = _Tree(module)
    found = []
    for number, node in enumerate(tree.nodes):
        if node in tree.left_alone or not isinstance(node, ast.expr | ast.stmt):
            continue
        for choice, new in enumerate(_faults(node, tree.parents.get(node))):
            statement = tree.statement(node)
            before, parent = _header(statement), tree.parents[node]
            _put(parent, node, new)
            after = _header(new if isinstance(new, ast.stmt) else statement)
            _put(parent, new, node)
            function, _ = tree.function(node)
            lines = _lines(statement)
            found.append(Mutant(module, function, before, after, statement.lineno, lines, number, choice))
    return found


def compiled(mutant: Mutant, filename: str) -> tuple[CodeType, int]:
    """The module's code with the fault, and the first line of the function that has it."""
    tree = _Tree(mutant.module)
    node = tree.nodes[mutant.node]
    _, line = tree.function(node)
    tree.replace(node, list(_faults(node, tree.parents.get(node)))[mutant.choice])
    return compile(tree.root, filename, "exec"), line


def _left_alone(node: ast.AST) -> Iterator[ast.AST]:
    """The parts of a node that are not for mutants."""
    if isinstance(node, Function):
        yield from node.decorator_list
        if node.returns is not None:
            yield node.returns
    elif isinstance(node, ast.ClassDef):
        yield from [*node.decorator_list, *node.bases]
    elif isinstance(node, ast.arg | ast.AnnAssign) and node.annotation is not None:
        yield node.annotation
    elif isinstance(node, ast.Raise):
        yield from ast.iter_child_nodes(node)
    elif (
        (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
        or (isinstance(node, ast.Call) and ast.unparse(node.func) in ("cast", "TypeVar", "assert_never"))
        or (isinstance(node, ast.Expr) and not isinstance(node.value, ast.Call))
        or (isinstance(node, ast.Expr) and ast.unparse(node).startswith("assert_never("))
    ):
        yield node


def _faults(node: ast.AST, parent: ast.AST | None) -> Iterator[ast.AST]:
    """What may stand in a node's place."""
    if isinstance(node, ast.stmt):
        yield from _of_a_statement(node)
    if isinstance(node, ast.expr):
        yield from _of_an_expression(node)
    if isinstance(node, ast.Name | ast.Call | ast.Attribute | ast.NamedExpr) and _is_condition(node, parent):
        yield ast.UnaryOp(ast.Not(), node)


def _of_a_statement(node: ast.stmt) -> Iterator[ast.AST]:
    if isinstance(node, ast.AugAssign) and type(node.op) in _SWAPPED:
        yield ast.AugAssign(node.target, _swap(node.op), node.value)
    elif isinstance(node, ast.Raise) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)):
        yield ast.Pass()
    elif isinstance(node, ast.Return) and node.value is not None and not isinstance(node.value, ast.Constant):
        yield ast.Return(ast.Constant(None))
    elif isinstance(node, ast.Continue):
        yield ast.Break()
    elif isinstance(node, ast.Break):
        yield ast.Continue()


def _of_an_expression(node: ast.expr) -> Iterator[ast.AST]:
    if isinstance(node, ast.Compare):
        for place, operator in enumerate(node.ops):
            operators = [*node.ops]
            operators[place] = _swap(operator)
            yield ast.Compare(node.left, operators, node.comparators)
    elif isinstance(node, ast.BoolOp):
        yield ast.BoolOp(_swap(node.op), node.values)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield node.operand
    elif isinstance(node, ast.BinOp) and type(node.op) in _SWAPPED and not _is_text(node):
        yield ast.BinOp(node.left, _swap(node.op), node.right)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int):
        yield ast.Constant(not node.value if isinstance(node.value, bool) else node.value + 1)


def _swap(operator: ast.AST) -> Any:
    return _SWAPPED[type(operator)]()


def _is_condition(node: ast.AST, parent: ast.AST | None) -> bool:
    if isinstance(parent, ast.If | ast.While | ast.IfExp | ast.Assert):
        return parent.test is node
    return isinstance(parent, ast.BoolOp) or (isinstance(parent, ast.comprehension) and node in parent.ifs)


def _is_text(node: ast.BinOp) -> bool:
    """Whether it puts texts or bytes together: another operator would only be a type error."""
    return any(
        isinstance(side, ast.JoinedStr)
        or (isinstance(side, ast.Constant) and isinstance(side.value, str | bytes))
        for side in (node.left, node.right)
    )


def _lines(statement: ast.stmt) -> int:
    body: list[ast.stmt] = getattr(statement, "body", [])
    end = body[0].lineno - 1 if body else statement.end_lineno or statement.lineno
    return max(end - statement.lineno, 0) + 1


def _header(statement: ast.stmt) -> str:
    """A statement without those inside it."""
    if isinstance(statement, Function):
        return f"def {statement.name}({ast.unparse(statement.args)})"
    lines = ast.unparse(statement).splitlines()
    return lines[0] if hasattr(statement, "body") else " ".join(line.strip() for line in lines)
