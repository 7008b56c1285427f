"""Many photos, many motions: ``python -m pipeline batch MANIFEST --out DIR``.

Every photo is fitted once and makes every video that the manifest asks of it. Work is named by what goes into it (the
bytes of photo and motion, the settings, the version), so that a second run finds what the first one finished. A job
that fails is listed and stops no other. The same jobs run in processes of this machine or on a Ray cluster.
"""
