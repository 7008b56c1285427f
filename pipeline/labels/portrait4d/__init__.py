"""Head pseudo-labels by Portrait4D-v2: the photo's head with the expressions of driving frames.

One file per block of the network (:mod:`.generator` puts them together), :mod:`.checkpoint` reads the published weights
without executing anything in them, :mod:`.align` and :mod:`.head_camera` prepare pictures and cameras, and
:mod:`.stage` makes labels. Names are loaded from their modules, so that importing the package costs nothing.
"""
