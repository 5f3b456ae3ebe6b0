"""Everything that nbgrader does: make the released notebook, record grades and comments in its database.

Not here: feedback pages (pages.py), and running students' code. nbgrader's executor is replaced by one that copies the
judge's verdicts, so nbgrader records what the laws found.
"""

import contextlib
import io
import json
import shutil
import warnings
from dataclasses import dataclass
from pathlib import Path

from minivis.storage import write_files

__all__ = ["COURSE", "Course", "Marks", "NbgraderFailed"]

COURSE = ".nbgrader"  # nbgrader's own folder inside the folder of submissions


class NbgraderFailed(ValueError):
    """nbgrader failed; the message is nbgrader's own."""


@dataclass(frozen=True)
class Marks:
    """Points and comments of one submission.

    ``points`` has (points, most) for each graded cell; the points are None while the teacher has to grade it by hand.
    ``comments`` has the teacher's words on a cell.
    """

    points: dict
    comments: dict


class Course:
    """A folder as nbgrader lays it out, for one assignment after another.

    Parameters
    ----------
    folder : Path
        Created if it does not exist. It holds the gradebook, the sources and the submissions.
    database : bool
        False makes no gradebook: enough if nothing is graded.
    """

    def __init__(self, folder, database=True):
        self.folder = Path(folder)
        self.database = database
        _need_nbgrader()

    def released(self, assignment):
        """The notebook to hand out, without solutions and hidden laws. It is made again if its source has changed.

        Parameters
        ----------
        assignment : Assignment

        Returns
        -------
        Path
            The notebook inside the course.

        Raises
        ------
        NbgraderFailed
            If nbgrader does not accept the source.
        """
        source = self.folder / "source" / assignment.name / f"{assignment.name}.ipynb"
        released = self.folder / "release" / assignment.name / f"{assignment.name}.ipynb"
        text = assignment.path.read_bytes()
        if not (released.is_file() and source.is_file() and source.read_bytes() == text):
            # if nbgrader failed now, the old release would be taken for the new source's
            released.unlink(missing_ok=True)
            source.parent.mkdir(parents=True, exist_ok=True)
            write_files({source: text})
            self._run("generate_assignment", assignment.name, force=True, create=True)
        return released

    def autograde(self, assignment, student, notebook, found):
        """Record a submission and its verdicts; raises `NbgraderFailed` if nbgrader does not accept them.

        Parameters
        ----------
        assignment : Assignment
        student : str
        notebook : dict
            The submission, mended.
        found : dict
            As `judge_submission` returns it, with ``text`` for each task: the output of its check cell.
        """
        place = self.folder / "submitted" / student / assignment.name
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        write_files({place / f"{assignment.name}.ipynb": json.dumps(notebook, indent=1).encode()})
        config = _verdicts_instead_of_running(found)
        self._run("autograde", assignment.name, student, config=config, force=True, create=True)

    def marks(self, assignment, student):
        """What a student's submission is worth: the points of the laws, and what the teacher has entered by hand.

        Parameters
        ----------
        assignment : Assignment
        student : str

        Returns
        -------
        Marks
        """
        from nbgrader.api import Gradebook

        with _quiet(), Gradebook(f"sqlite:///{self.folder / 'gradebook.db'}") as book:
            submission = book.find_submission_notebook(assignment.name, assignment.name, student)
            points = {}
            for grade in submission.grades:
                graded = grade.auto_score is not None or grade.manual_score is not None
                points[grade.name] = (grade.score if graded else None, grade.max_score)
            comments = {each.name: each.manual_comment for each in submission.comments if each.manual_comment}
            return Marks(points, comments)

    def _run(self, action, *names, config=None, **options):
        from nbgrader.apps import NbGraderAPI
        from traitlets.config import Config

        settings = Config(config or {})
        settings.CourseDirectory.root = str(self.folder.resolve())
        settings.CourseDirectory.course_id = "minivis"
        if not self.database:
            settings.GenerateAssignment.no_database, settings.SaveCells.enabled = True, False
        settings.NbGraderAPI.log_level = settings.Application.log_level = 40
        with _quiet(), _version_at_hand():
            result = getattr(NbGraderAPI(config=settings), action)(*names, **options)
        if not result["success"]:
            raise NbgraderFailed(f"nbgrader's {action} failed: {_reason(result)}")


def _reason(result):
    """The line of a traceback that names the error."""
    lines = f"{result.get('log', '')}\n{result.get('error', '')}".splitlines()
    errors = [line.strip() for line in lines if line[:1].isalpha() and "Error: " in line]
    return (errors or [line for line in lines if line.strip()] or ["it did not say why"])[0]


def _need_nbgrader():
    import importlib.util

    if importlib.util.find_spec("nbgrader") is None:
        raise ImportError('assignment: nbgrader is not installed: pip install "minivis[classroom]"')


@contextlib.contextmanager
def _quiet():
    """Hide the warnings of nbgrader and its dependencies: they are about each other, not about the course."""
    import logging

    log = logging.getLogger("traitlets")  # nbgrader logs here when it is used as a library
    handlers = log.handlers[:]
    propagate = log.propagate
    log.handlers[:] = [logging.NullHandler()]
    log.propagate = False
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        log.handlers[:], log.propagate = handlers, propagate


@contextlib.contextmanager
def _version_at_hand():
    """Make nbgrader read its database version from files: running its command `alembic` takes seconds and needs the PATH."""
    from nbgrader import api

    kept = api.get_alembic_version
    api.get_alembic_version = _version_of_gradebooks
    try:
        yield
    finally:
        api.get_alembic_version = kept


def _version_of_gradebooks():
    """The newest version of nbgrader's database: what `alembic heads` prints."""
    from alembic.config import Config
    from alembic.script import ScriptDirectory
    from nbgrader.dbutil import ALEMBIC_DIR

    config = Config()
    config.set_main_option("script_location", ALEMBIC_DIR.replace("%", "%%"))
    return ScriptDirectory.from_config(config).get_current_head()


def _verdicts_instead_of_running(found):
    """A configuration of nbgrader whose autograder runs no notebook but writes the judge's verdicts into it."""
    with _quiet():
        from nbconvert.preprocessors import ClearMetadataPreprocessor
        from nbformat.v4 import new_output
        from nbgrader.preprocessors import CheckCellMetadata, NbGraderPreprocessor, SaveAutoGrades

    tasks = {task["name"]: task for task in found["tasks"]}

    class WriteVerdicts(NbGraderPreprocessor):
        def preprocess_cell(self, cell, resources, cell_index):
            task = tasks.get(cell.metadata.get("nbgrader", {}).get("grade_id"))
            if cell.cell_type == "code" and task:
                points = {"text/plain": str(float(task["points"]))}  # what nbgrader reads as partial credit
                cell.outputs = [
                    new_output("display_data", {"text/plain": task["text"]}),
                    new_output("execute_result", points, execution_count=None),
                ]
            return cell, resources

    steps = [WriteVerdicts, ClearMetadataPreprocessor, SaveAutoGrades, CheckCellMetadata]
    return {"Autograde": {"autograde_preprocessors": steps}, "ClearMetadataPreprocessor": {"enabled": False}}
