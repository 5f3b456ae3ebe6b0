"""The machine behind the laws: it draws inputs, runs a function with care, judges what comes back and reports.

Not here: the laws of one family (the files beside this folder).
"""
