"""The import closure on a made-up project, and on this one.

tasks/a.py -> tasks/area/b.py (inside a function) -> tasks/area/c.py (relative);  tasks/d.py stands apart
"""

from pathlib import Path

from tasks.stage.closure import ROOT, local_imports


def _project(root: Path) -> None:
    files = {
        "tasks/__init__.py": "",
        "tasks/area/__init__.py": "",
        "tasks/a.py": "import json\ndef run():\n    from tasks.area import b\n    return b\n",
        "tasks/area/b.py": "from .c import x\n",
        "tasks/area/c.py": "import tasks.a\nx = 1\n",
        "tasks/d.py": "",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def test_the_closure_follows_functions_relative_imports_and_cycles(tmp_path: Path) -> None:
    _project(tmp_path)
    found = {str(path.relative_to(tmp_path)) for path in local_imports(tmp_path / "tasks/a.py", tmp_path)}
    assert found == {
        "tasks/__init__.py",
        "tasks/area/__init__.py",
        "tasks/a.py",
        "tasks/area/b.py",
        "tasks/area/c.py",
    }


def test_the_closure_of_a_file_of_this_project() -> None:
    found = {str(path.relative_to(ROOT)) for path in local_imports(ROOT / "tasks/stage/training.py")}
    assert {"tasks/stage/training.py", "tasks/stage/step_trainer.py", "tasks/stage/progress.py"} <= found
    assert "tasks/stage/closure.py" not in found
