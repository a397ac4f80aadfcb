"""Names within `live`: each class has one of its own."""

import ast
from collections import Counter
from pathlib import Path

LIVE = Path(__file__).parents[2] / "rtdeblur/live"


def test_no_two_classes_share_a_name() -> None:
    names = Counter(
        node.name
        for path in LIVE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
    )
    assert names.total() > 20
    assert [name for name, count in names.items() if count > 1] == []
