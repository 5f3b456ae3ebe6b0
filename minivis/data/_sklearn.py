"""The door to the pictures that scikit-learn carries: one import, one message when it is missing.
Not here: any use of scikit-learn's estimators; minivis needs its pictures only."""


def sklearn_datasets(name):
    """Import ``sklearn.datasets`` for the function called `name`, or say how to install it."""
    try:
        import sklearn.datasets
    except ImportError as error:
        raise ImportError(
            f"{name}: the pictures come with scikit-learn, which is not installed; install it with: "
            'pip install "minivis[notebooks]"'
        ) from error
    return sklearn.datasets
