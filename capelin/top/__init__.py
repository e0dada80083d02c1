"""``capelin top``: the fleet on one screen, live.

Only ``screen``, ``dialogs`` and ``listing`` know how it is drawn, and load textual.
"""
