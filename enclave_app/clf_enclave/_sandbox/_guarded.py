"""What is changed in a source that was checked, before it is compiled."""

from __future__ import annotations

import ast

TICK = "_tick"
"""A function that looks at the clock. The source can't name it."""


def _tick() -> ast.Call:
    return ast.Call(func=ast.Name(id=TICK, ctx=ast.Load()), args=[], keywords=[])


class Guarded(ast.NodeTransformer):
    """Takes imports out, whose names are bound before, and looks at the clock in all that repeats.

    A trace function could do the same without a change, but is not called in a loop on one line.
    """

    def visit_Import(self, node: ast.Import) -> ast.AST:
        """See `ast.NodeTransformer`."""
        return ast.copy_location(ast.Pass(), node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST:
        """See `ast.NodeTransformer`."""
        return ast.copy_location(ast.Pass(), node)

    def visit_For(self, node: ast.For) -> ast.AST:
        """See `ast.NodeTransformer`."""
        return self._block(node)

    def visit_While(self, node: ast.While) -> ast.AST:
        """See `ast.NodeTransformer`."""
        return self._block(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        """See `ast.NodeTransformer`."""
        return self._block(node)

    def visit_Lambda(self, node: ast.Lambda) -> ast.AST:
        """See `ast.NodeTransformer`."""
        self.generic_visit(node)
        node.body = ast.BoolOp(op=ast.And(), values=[_tick(), node.body])
        return ast.fix_missing_locations(node)

    def visit_comprehension(self, node: ast.comprehension) -> ast.AST:
        """See `ast.NodeTransformer`."""
        self.generic_visit(node)
        node.ifs.insert(0, _tick())
        return node

    def _block(self, node: ast.For | ast.While | ast.FunctionDef) -> ast.AST:
        self.generic_visit(node)
        node.body.insert(0, ast.Expr(_tick()))
        return ast.fix_missing_locations(node)


def guarded(tree: ast.Module) -> ast.Module:
    """Return a checked module with all that keeps it within its time."""
    made: ast.Module = Guarded().visit(tree)
    return ast.fix_missing_locations(made)
