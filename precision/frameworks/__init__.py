"""Drivers of the frameworks, one module each; imported only inside a worker process.

A driver has three functions:

- `configure(device, switches) -> read_back`: set each switch, read it back, return what was read;
- `versions() -> {name: version}`: the framework's libraries and devices;
- `run(op, params, arrays) -> array`: one call; arrays and result are NumPy float32 in NCHW.

A driver raises `precision.errors.CannotRun` where the machine lacks what the mode needs, and where the
framework has no call for a declaration.
"""
