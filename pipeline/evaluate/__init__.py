"""How good is it: picture metrics and the self-driven test on a video."""
