"""Read one value of a json object with its type checked: a number, a yes or no, an id, a text; and write what was read.
Not here: reading the json file (_files.py), the lists of COCO (_coco.py)."""

import reprlib
import sys

__all__ = []

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 80
LARGEST = sys.float_info.max
FLAGS = {"0": False, "1": True, "false": False, "true": True}  # converters from XML write these


def whole(what, entry, key, default=None):
    """A whole number of an entry. 3.0 counts as one; True and "3" do not.

    Parameters
    ----------
    what : str
        What the entry is, for the error: "image 7".
    entry : dict
        From json.
    key : str
        The key of the number.
    default : int, optional
        The value if the number is missing or null; without a default, this is an error.

    Returns
    -------
    int

    Raises
    ------
    ValueError
        If the value is missing or not a whole number.

    Examples
    --------
    >>> whole("image 7", {"width": 640.0}, "width")
    640
    """
    value = entry.get(key)
    if type(value) is int:
        return value
    if type(value) is float and value.is_integer():  # infinity and NaN are not
        return int(value)
    return _absent(what, key, value, default, "a whole number")


def number(what, entry, key, default=None):
    """A finite number of an entry, as a float; see `whole`."""
    value = entry.get(key)
    if type(value) in (int, float) and -LARGEST <= value <= LARGEST:  # NaN and infinity are not
        return float(value)
    return _absent(what, key, value, default, "a number")


def flag(what, entry, key, default=None):
    """A yes or no of an entry: true, 1, "1" and "true", or false, 0, "0" and "false"; see `whole`."""
    value = entry.get(key)
    if type(value) is bool:
        return value
    if type(value) in (int, float) and value in (0, 1):
        return bool(value)
    if isinstance(value, str) and value.strip().lower() in FLAGS:
        return FLAGS[value.strip().lower()]
    return _absent(what, key, value, default, "1 or 0 (true or false)")


def text(what, entry, key, default=None):
    """A non-empty text of an entry; see `whole`."""
    value = entry.get(key)
    if isinstance(value, str) and value:
        return value
    return _absent(what, key, value, default, "a text")


def identity(what, entry, key="id", default=None):
    """The id of an entry: a whole number or a text. 7 and "7" are different ids; see `whole`."""
    value = entry.get(key)
    if isinstance(value, str) and value:
        return value
    if type(value) is int:
        return value
    if type(value) is float and value.is_integer():
        return int(value)
    return _absent(what, key, value, default, "a whole number or a text")


def objects(what, entry, key, default=None):
    """A list of objects of an entry; see `whole`."""
    value = entry.get(key)
    if isinstance(value, list) and all(isinstance(part, dict) for part in value):
        return value
    return _absent(what, key, value, default, "a list of objects")


def counted(number, one, more):
    """A number and its noun.

    Parameters
    ----------
    number : int
        How many.
    one, more : str
        The noun in the singular and in the plural.

    Returns
    -------
    str

    Examples
    --------
    >>> counted(1, "object", "objects"), counted(0, "object", "objects")
    ('1 object', '0 objects')
    """
    return f"{number} {one if number == 1 else more}"


def told(value):
    """A value as a short text, for an error."""
    return _SHORT.repr(value)


def _absent(what, key, value, default, wanted):
    if value is None and default is not None:
        return default
    raise ValueError(
        f"{what} needs {wanted} named {key!r}, got {'nothing' if value is None else told(value)}"
    )
