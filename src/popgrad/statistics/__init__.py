"""Statistics of a few runs: interquartile means, bootstrap intervals, differences by seed, ranks.

Pure functions of NumPy arrays. Scores are such that higher is better.
"""
