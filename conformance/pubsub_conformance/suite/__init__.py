"""The conformance tests: a module or folder for each page of the specification, and for DRIVER.md.

A test's docstring is a sentence that says what has to happen: reports show it as "expected".
"""
