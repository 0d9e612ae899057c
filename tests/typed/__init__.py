"""Code as users of Anymail write it, which must pass `mypy --strict` as it is.

(Not called "typing": scripts in the directory above would import that in place of Python's own.)
"""
