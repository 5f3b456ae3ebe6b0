"""Imports scikit-learn's pictures, with a helpful message if the package is missing.
Not here: scikit-learn's estimators; minivis needs only the pictures."""


def sklearn_datasets(name):
    """Import ``sklearn.datasets`` for the function `name`; the error says how to install it."""
    try:
        import sklearn.datasets
    except ImportError as error:
        raise ImportError(
            f"{name}: the pictures come with scikit-learn, which is not installed; install it with: "
            'pip install "minivis[notebooks]"'
        ) from error
    return sklearn.datasets
