"""nbgrader's metadata of a notebook cell: its name, and whether it is a task or a check.

Not here: the cell's source. A student may have changed the metadata, so any of it may be missing or of another type.
"""

__all__ = ["grade_id", "is_check", "is_task", "nbgrader_metadata"]


def nbgrader_metadata(cell):
    """nbgrader's part of a cell's metadata; an empty dict if there is none."""
    metadata = cell.get("metadata")
    own = metadata.get("nbgrader") if isinstance(metadata, dict) else None
    return own if isinstance(own, dict) else {}


def grade_id(cell):
    """nbgrader's name for a cell, or None."""
    found = nbgrader_metadata(cell).get("grade_id")
    return found if isinstance(found, str) else None


def is_task(cell):
    """Whether the student fills in this cell."""
    return bool(nbgrader_metadata(cell).get("solution"))


def is_check(cell):
    """Whether this is a code cell that earns points and is not written by the student."""
    return (
        cell.get("cell_type") == "code" and bool(nbgrader_metadata(cell).get("grade")) and not is_task(cell)
    )
