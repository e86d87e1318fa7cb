"""The command line: parse, call one function of the package, print.

One file a command. The packages behind them (torch, NumPy, Pillow) are imported inside the functions, since
`--help` must answer at once. Options that were left out are not passed on, so that a settings file can stand
below the flags.
"""
