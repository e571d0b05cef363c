"""The claims of the field's lectures, one experiment a file; `gentrain demo list`.

- `best_critic`: the best critic is p / (p + q), and the game's value there is 2 JSD - 2 log 2
- `disjoint_supports`: between supports that do not meet JSD is flat, and the distance is not
"""
