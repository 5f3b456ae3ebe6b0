"""Read the values of a config.json: each is checked, and an error names it. null means the same as absent.

Not here: the file itself (files.py), building models from the values (vit.py, detr.py, ...).
"""

import re

from minivis import listed
from minivis.nn.init import LARGEST_SIZE

__all__ = ["Settings"]


class Settings:
    """The checked values of a parsed config.json.

    Parameters
    ----------
    name : str
        Name of the settings for error messages, such as "vit".
    values : dict
        The parsed file, or an object within it.

    Raises
    ------
    ValueError
        By every method, if the value has another type than requested or is out of range.

    Examples
    --------
    >>> Settings("vit", {"hidden_size": 384, "patch_size": None}).whole("hidden_size", 768)
    384
    >>> Settings("vit", {"hidden_size": "large"}).whole("hidden_size", 768)
    Traceback (most recent call last):
    ValueError: vit needs a whole number named 'hidden_size', got 'large'
    """

    def __init__(self, name, values):
        self.name, self.values = name, values
        if not isinstance(values, dict):
            raise ValueError(f"{name}: expected an object {{...}}, got {listed.told(values)}")

    def get(self, key, default=None):
        """The value without checks; the default if it is absent or null."""
        value = self.values.get(key)
        return default if value is None else value

    def whole(self, key, default, least=1, most=LARGEST_SIZE):
        """A whole number from `least` to `most`."""
        return self._within(key, listed.whole(self.name, self.values, key, default), least, most)

    def number(self, key, default, least=0.0, most=1e30):
        """A number from `least` to `most`."""
        return self._within(key, listed.number(self.name, self.values, key, default), least, most)

    def share(self, key, default):
        """A dropout probability: at least 0 and below 1."""
        return self.number(key, default, 0.0, 1 - 1e-9)

    def flag(self, key, default):
        """True or false."""
        return listed.flag(self.name, self.values, key, default)

    def text(self, key, default):
        """A text."""
        return listed.text(self.name, self.values, key, default)

    def wholes(self, key, default, least=1, most=LARGEST_SIZE):
        """A list of 1 to 100 whole numbers, as a tuple."""
        values = self.get(key, list(default))
        if not isinstance(values, list) or not 1 <= len(values) <= 100:
            raise ValueError(
                f"{self.name} needs a list of whole numbers named {key!r}, got {listed.told(values)}"
            )
        entries = ({key: value} for value in values)
        return tuple(Settings(self.name, entry).whole(key, None, least, most) for entry in entries)

    def pair(self, key, default):
        """One whole number, or height and width as a tuple."""
        if not isinstance(self.get(key), list):
            return self.whole(key, default)
        pair = self.wholes(key, ())
        if len(pair) != 2:
            raise ValueError(f"{self.name}: {key} must be one number or two, got {listed.told(list(pair))}")
        return pair

    def part(self, key):
        """A nested object as Settings, or None if it is absent."""
        value = self.get(key)
        return None if value is None else Settings(f"{self.name}: {key}", value)

    def only(self, **fixed):
        """Raise for settings that minivis does not support: each must be absent or have the value given here."""
        for key, value in fixed.items():
            found = self.get(key, value)
            if found != value or type(found) is not type(value):
                raise ValueError(f"{self.name}: {key} must be {value!r}, found {listed.told(found)}")

    def architectures(self):
        """The names of the classes of transformers from which the weights were saved, as a set."""
        names = self.get("architectures", [])
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError(
                f"{self.name} needs a list of texts named 'architectures', got {listed.told(names)}"
            )
        return set(names)

    def of_timm(self, known):
        """timm's name of the model, or None. Raise for a name that does not match the pattern `known`.

        Shapes alone are not enough: models that compute different things can have arrays of the same shapes.
        """
        name = self.get("architecture")
        if name is None:
            return None
        if not isinstance(name, str) or not re.fullmatch(known, name.split(".")[0]):
            raise ValueError(
                f"{self.name}: {listed.told(name)} is a model of timm that minivis does not have: its weights may have the "
                "shapes of one that it has, and compute something else"
            )
        return name.split(".")[0]

    def _within(self, key, value, least, most):
        if not least <= value <= most:
            raise ValueError(
                f"{self.name}: {key} must be between {least:g} and {most:g}, got {listed.told(value)}"
            )
        return value
