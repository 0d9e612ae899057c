"""The test suite. Run it with `python runtests.py`.

Importing any part of it makes every warning an error. So the filter is there before Django is
imported, and in the worker processes of a parallel run too.
"""

import warnings

warnings.simplefilter("error")
