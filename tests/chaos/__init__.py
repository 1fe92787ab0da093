"""The kill matrix: real processes under load while they are killed, stopped and cut off; `python -m chaos --help`.

What happened is written down outside the broker (`ledger`), what was done to whom is planned (`schedule`) and carried
out (`injector`), and a pure judge (`judge`) says what was lost, repeated, unexplained or late.
"""
