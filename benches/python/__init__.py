"""What users feel: workspaces against NumPy, against hand-written `out=`, tuned malloc and torch.

`python -m benches.python --help`, from the folder of the repository. A figure is a ratio to a peer in the
same process, with the page faults of both beside it; both have to give the same results.
"""

import os

# One thread for linear algebra; read when NumPy and torch are imported, so it comes first.
for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"):
    os.environ[_name] = "1"
