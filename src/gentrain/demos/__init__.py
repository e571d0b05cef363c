"""The claims of the field's lectures, one experiment a file; `gentrain demo list`.

- `best_critic`: the best critic is p / (p + q), and the game's value there is 2 JSD - 2 log 2
- `bilinear_game`: games that circle, and what makes them converge
- `disjoint_supports`: between supports that do not meet JSD is flat, and the distance is not
- `hopfield_capacity`: a Hopfield network recalls 0.138 N patterns
- `receptive_fields`: what masks hide, and the blind spot
- `saturation`: the better the critic, the less the saturating loss teaches
- `two_divergences`: the inclusive KL covers, the exclusive one chooses
"""
