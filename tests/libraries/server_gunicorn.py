"""gunicorn's command in this folder: it looks for packages in the working directory first."""

import os
from pathlib import Path

os.chdir(Path(__file__).parent)

from gunicorn.app.wsgiapp import run

run()
