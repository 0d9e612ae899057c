"""Settings of the processes that send and work. A test has put them into the environment."""

import json
import os

globals().update(json.loads(os.environ["ANYMAIL_TEST_PROJECT"]))
