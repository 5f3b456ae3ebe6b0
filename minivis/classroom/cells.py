"""What nbgrader notes on a notebook's cell: its name there, whether it is a task's or a check.

Not here: what is in the cell. A student may have changed the metadata, so any of it may be missing or of another type.
"""

__all__ = ["grade_id", "is_check", "is_task", "nbgrader_metadata"]


def nbgrader_metadata(cell):
    """nbgrader's own part of a cell's metadata; an empty dict where there is none."""
    metadata = cell.get("metadata")
    own = metadata.get("nbgrader") if isinstance(metadata, dict) else None
    return own if isinstance(own, dict) else {}


def grade_id(cell):
    """The name that nbgrader knows a cell by, or None."""
    found = nbgrader_metadata(cell).get("grade_id")
    return found if isinstance(found, str) else None


def is_task(cell):
    """Whether it is the cell that a student fills in."""
    return bool(nbgrader_metadata(cell).get("solution"))


def is_check(cell):
    """Whether it is code that earns points and that a student does not write."""
    return (
        cell.get("cell_type") == "code" and bool(nbgrader_metadata(cell).get("grade")) and not is_task(cell)
    )
