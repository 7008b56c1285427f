"""The page and the API of the app: endpoints, layout, looks, limits. ``app.py`` puts them together."""
