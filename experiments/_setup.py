# Imported first by each experiment: makes the project's folders importable and prepares Theano. No syntax here that
# an older Python does not know, so that it can say which one is needed.
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

if sys.version_info[:2] != (3, 11):
    sys.exit("error: Python 3.11 is needed, this is %d.%d: run the script with python3.11" % sys.version_info[:2])

from utils import theano_setup  # noqa: E402
from utils.errors import UserError  # noqa: E402

try:
    theano_setup.prepare()
except UserError as error:
    sys.exit("error: %s" % error)
