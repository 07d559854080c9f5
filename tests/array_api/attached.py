"""The namespace that the array API's test-suite gets: `ndarena`, inside an open workspace."""

import ndarena as xp

workspace = xp.Workspace(xp.WorkspaceConfiguration(initial_size="64 MiB"), "ARRAY_API")
scope = workspace.notify_scope_entered()
if not isinstance(xp.zeros(1), xp.WorkspaceArray):
    raise TypeError("the arrays under test must lie in the workspace")
