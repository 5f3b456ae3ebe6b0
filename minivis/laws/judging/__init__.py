"""The machine behind the laws: it draws inputs, runs a function safely, judges its results and reports.

Not here: the laws of one family (the files beside this folder).
"""
